"""Coterie beside other front ends on one core: `python -m benchmarks.front_end`.

Starts each contestant in a process of its own, pinned to a core, and on another core an expert that costs
nothing (`benchmarks.bare_servers`) and this client. Rounds alternate between the contestants, so that
background load meets all alike; each figure is the median of the rounds. `bare` is an ASGI function on
Granian that hands requests on with aiohttp and does nothing else: what Python can do. `direct` is the expert
itself, and bounds what this client can see. Compare ratios, not figures of different runs or machines. Where
other work keeps the cores busy, latencies and rates tell mostly of that; the processor's time a request tells
less of it, and is the reciprocal of the rate on a core of its own.

`--peers` adds other projects' front ends (`benchmarks.peer_servers`), installed under var/ on first use.
`--json FILE` writes the numbers, and `--page docs/performance.md` its table and the picture beside it.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bare_servers import CHUNKS
from benchmarks.measured_pages import fill_page
from benchmarks.measures import Measure, write_measures
from benchmarks.peer_servers import PEERS, UNAVAILABLE
from benchmarks.server_processes import PROJECT, answers, free_port, granian, start, stub_registry
from prompts.seeds import load_seeds

IN_FLIGHT = 32
WARM_UP = 20
START_S = 300.0
"""A peer loads torch, and encodes its utterances."""

DIRECT, BARE, NAMED, ROUTED = "direct", "bare", "Coterie, named", "Coterie, routed"
CASCADE, PANEL = "Coterie, cascade of two", "Coterie, panel of two"
WORKERS = "Coterie, named, 2 workers"
"""On all cores: the client and the expert have part of them, so that its time a request tells more than its
rate."""

Figures = Mapping[str, Mapping[str, float]]
"""Medians by contestant, then by figure."""

FIGURES = {
    "CPU": "ms/request",
    "CPU, streams": "ms/stream",
    "p50 at 1": "ms",
    "p99 at 1": "ms",
    "p50 at 32": "ms",
    "p99 at 32": "ms",
    "rate at 32": "requests/s",
    "streams at 32": "streams/s",
}


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server of chat completions at `port`, asked for `model`."""

    name: str
    port: int
    model: str
    pid: int
    routing: Mapping[str, Any] = field(default_factory=dict)
    """Goes into the request; Coterie's own."""

    @property
    def cpu_s(self) -> float:
        """Seconds that its process and those that it started have run (Linux)."""
        return sum(_cpu_s(pid) for pid in _family(self.pid))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.front_end", description=__doc__)
    parser.add_argument("--profile", default="cpu", help="the shipped composition to route with")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=300, help="a round, of each kind")
    parser.add_argument("--contestants", nargs="*", default=(), metavar="NAME", help="only these, and bare")
    parser.add_argument("--peers", action="store_true", help="other projects' front ends too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    parser.add_argument("--page", type=Path, help="the page whose measured table is replaced")
    given = parser.parse_args(arguments)
    cores = sorted(os.sched_getaffinity(0))
    ours, theirs = cores[0], cores[-1]
    with (
        tempfile.TemporaryDirectory(prefix="coterie-bench-") as scratch,
        _running(
            given.profile, Path(scratch), ours, theirs, peers=given.peers, names=given.contestants
        ) as running,
    ):
        os.sched_setaffinity(0, {ours})
        wanted = {BARE, *given.contestants} if given.contestants else {each.name for each in running}
        contestants = [each for each in running if each.name in wanted]
        figures = asyncio.run(_measure(contestants, given.rounds, given.requests))
    goals = _goals(figures)
    _print(figures, goals)
    if given.json is not None:
        rows = [
            Measure(f"{name}, {figure}", value, FIGURES[figure])
            for name, found in figures.items()
            for figure, value in found.items()
        ]
        write_measures([*rows, *goals], given.json)
    if given.page is not None:
        _write_page(given.page, figures)
    return 0 if all(each.holds for each in goals) else 1


def _goals(figures: Figures) -> list[Measure]:
    """What is promised of Coterie, as ratios and differences within this run."""
    found: list[Measure] = []
    bare, named, routed = figures[BARE], figures.get(NAMED), figures.get(ROUTED)
    if named is not None:
        found += [
            Measure("named : bare, CPU a request", named["CPU"] / bare["CPU"], "times", 2.0),
            Measure("named : bare, CPU a stream", named["CPU, streams"] / bare["CPU, streams"], "times", 2.0),
            Measure("named: p50 above bare", named["p50 at 1"] - bare["p50 at 1"], "ms", 1.0),
            Measure("bare : named, requests/s", bare["rate at 32"] / named["rate at 32"], "times", 2.0),
            Measure("bare : named, streams/s", bare["streams at 32"] / named["streams at 32"], "times", 2.0),
        ]
    if routed is not None:
        found.append(Measure("routed : bare, CPU a request", routed["CPU"] / bare["CPU"], "times", 3.0))
        found.append(
            Measure("bare : routed, requests/s", bare["rate at 32"] / routed["rate at 32"], "times", 3.0)
        )
    if named is not None and routed is not None:
        found.append(Measure("routed: p50 above named", routed["p50 at 1"] - named["p50 at 1"], "ms", 3.0))
    if named is not None and (several := figures.get(WORKERS)) is not None:
        found += [
            Measure("2 workers : 1, CPU a request", several["CPU"] / named["CPU"], "times"),
            Measure("2 workers : 1, CPU a stream", several["CPU, streams"] / named["CPU, streams"], "times"),
        ]
    for name, each in figures.items():
        bound = 3.0 if name in (NAMED, ROUTED) else None
        found.append(
            Measure(f"{name}: p99 : p50 at 32", each["p99 at 32"] / each["p50 at 32"], "times", bound)
        )
    return found


async def _measure(contestants: Sequence[Contestant], rounds: int, requests: int) -> Figures:
    texts = itertools.cycle(seed.prompt for seed in load_seeds("test"))
    # No two requests are alike, so that nothing is answered from a cache.
    prompts = (f"{text} ({number})" for number, text in enumerate(texts))
    found: dict[str, list[dict[str, float]]] = {each.name: [] for each in contestants}
    for each in contestants:
        await _ask(each, prompts, 1, WARM_UP, stream=False)
        await _ask(each, prompts, IN_FLIGHT, WARM_UP, stream=True)
    for _ in range(rounds):
        for each in contestants:
            alone, _ = await _ask(each, prompts, 1, requests, stream=False)
            spent = [each.cpu_s]
            beside, seconds = await _ask(each, prompts, IN_FLIGHT, requests, stream=False)
            spent.append(each.cpu_s)
            _, streaming = await _ask(each, prompts, IN_FLIGHT, requests, stream=True)
            spent.append(each.cpu_s)
            cpu = ((after - before) * 1000 / requests for before, after in itertools.pairwise(spent))
            values = (*cpu, *_tails(alone), *_tails(beside), requests / seconds, requests / streaming)
            found[each.name].append(dict(zip(FIGURES, values, strict=True)))
    return {
        name: {figure: statistics.median(each[figure] for each in of_rounds) for figure in FIGURES}
        for name, of_rounds in found.items()
    }


def _family(pid: int) -> Iterator[int]:
    """`pid` and all that descend from it."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from _family(int(child))


def _cpu_s(pid: int) -> float:
    """Seconds of all threads, which `/proc/PID/stat` tells in hundredths alone."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in threads) / 1e9


def _tails(seconds: Sequence[float]) -> tuple[float, float]:
    """p50 and p99, ms."""
    return statistics.median(seconds) * 1000, statistics.quantiles(seconds, n=100)[-1] * 1000


async def _ask(
    contestant: Contestant, prompts: Iterator[str], in_flight: int, requests: int, *, stream: bool
) -> tuple[list[float], float]:
    """Seconds of each of `requests`, and of all, with `in_flight` at a time on connections that are open."""
    left = iter([_request(contestant, next(prompts), stream=stream) for _ in range(requests)])
    connections = [await asyncio.open_connection("127.0.0.1", contestant.port) for _ in range(in_flight)]
    took: list[float] = []

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for request in left:
            started = time.perf_counter()
            writer.write(request)
            await _answer(reader, contestant, stream=stream)
            took.append(time.perf_counter() - started)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(ask(*each) for each in connections))
    return took, time.perf_counter() - started


def _request(contestant: Contestant, prompt: str, *, stream: bool) -> bytes:
    document: dict[str, Any] = {
        "model": contestant.model,
        "messages": [{"role": "user", "content": prompt}],
        "stream": stream,
    }
    if contestant.routing:
        document["routing"] = contestant.routing
    body = json.dumps(document).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{contestant.port}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _answer(reader: asyncio.StreamReader, contestant: Contestant, *, stream: bool) -> None:
    """Read one answer. A client library would cost more than some contestants do."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, found, length = head.partition(b"content-length:")
    if found:
        body = await reader.readexactly(int(length.split(b"\r\n", 1)[0]))
    else:
        body = await reader.readuntil(b"\r\n0\r\n\r\n")
    # A strategy shows a reply that it had to see whole in fewer chunks.
    chunks = 2 if contestant.routing else CHUNKS
    whole = body.count(b"data: ") > chunks and b"[DONE]" in body if stream else b'"content"' in body
    if b" 200 " not in head.split(b"\r\n", 1)[0] or not whole:
        raise SystemExit(f"{contestant.name} answered {(head + body)[:1000]!r}")


@contextlib.contextmanager
def _running(
    profile: str, scratch: Path, ours: int, theirs: int, *, peers: bool, names: Sequence[str]
) -> Iterator[list[Contestant]]:
    """The contestants, started; the expert is on core `ours`, they are on `theirs`. Peers and workers only if
    `names` ask for them."""
    stub, bare, coterie = (free_port() for _ in range(3))
    endpoint = f"http://127.0.0.1:{stub}/v1"
    registry = stub_registry(profile, endpoint, "stub", scratch / "experts.yaml")
    experts = yaml.safe_load(registry.read_text())["experts"]
    experts.sort(key=lambda each: float(each["params_b"]))
    weak, strong = experts[0]["name"], experts[-1]["name"]
    # Nothing is sure enough for the first expert alone, so that both are asked.
    cascade = {"strategy": "cascade", "options": {"threshold": 1.0, "weak": weak, "strong": strong}}
    panel = {"strategy": "panel", "options": {"members": [weak, strong]}}
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "BARE_EXPERT": endpoint,
        "COTERIE_PROFILE": profile,
        "COTERIE_EXPERTS": str(registry),
        "COTERIE_DATA": str(scratch / "var"),
        "COTERIE_PORT": str(coterie),
        "COTERIE_LOG_LEVEL": "info",
    }
    with (scratch / "log").open("w") as log, contextlib.ExitStack() as stack:

        def ready(process: subprocess.Popen[bytes], port: int, path: str) -> None:
            if not answers(process, port, path, START_S):
                raise SystemExit(f"{path} did not answer:\n{(scratch / 'log').read_text()[-2000:]}")

        expert = start(stack, granian("benchmarks.bare_servers:expert", stub), environment, log, core=ours)
        ready(expert, stub, "/v1/models")
        least = start(stack, granian("benchmarks.bare_servers:forward", bare), environment, log, core=theirs)
        service = start(stack, ["app.cli", "serve"], environment, log, core=theirs)
        ready(least, bare, "/v1/models")
        ready(service, coterie, "/readyz")
        found = [
            Contestant(DIRECT, stub, "stub", expert.pid),
            Contestant(BARE, bare, "stub", least.pid),
            Contestant(NAMED, coterie, strong, service.pid),
            Contestant(ROUTED, coterie, "coterie", service.pid),
            Contestant(CASCADE, coterie, "coterie", service.pid, cascade),
            Contestant(PANEL, coterie, "coterie", service.pid, panel),
        ]
        if not names or WORKERS in names:
            several = free_port()
            own = {"COTERIE_PORT": str(several), "COTERIE_DATA": str(scratch / "workers")}
            service = start(stack, ["app.cli", "serve", "--workers", "2"], {**environment, **own}, log)
            ready(service, several, "/readyz")
            found.append(Contestant(WORKERS, several, strong, service.pid))
        for peer in PEERS if peers else ():
            peer.install()
            port = free_port()
            process = peer.start(stack, endpoint, port, scratch, log, theirs)
            ready(process, port, peer.ready)
            found.append(Contestant(f"{peer.name} {peer.version}", port, peer.model, process.pid))
        yield found


def _write_page(page: Path, figures: Figures) -> None:
    """Fill the page's table, and draw the rates into `images/front-ends.png` beside it."""
    fill_page(page, "<!-- measured: front ends -->", "<!-- end -->", _table(figures))
    _draw(page.parent / "images" / "front-ends.png", figures)


def _table(figures: Figures) -> str:
    """All figures as a table of a page, and the processor's time as times the bare function's."""
    heads = [f"{figure}, {unit}" for figure, unit in FIGURES.items()]
    lines = [["", *heads, "CPU, times bare"], ["---", *["--:"] * (len(heads) + 1)]]
    for name, found in figures.items():
        cells = [_three_digits(found[figure]) for figure in FIGURES]
        lines.append([name, *cells, f"{found['CPU'] / figures[BARE]['CPU']:.3g}"])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    missing = "\n".join(f"- {name} is not in the table: {reason}." for name, reason in UNAVAILABLE.items())
    return f"{table}\n\n{missing}"


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _draw(path: Path, figures: Figures) -> None:
    """Requests and streams a second by contestant, as bars on a logarithmic scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = {name: each for name, each in figures.items() if name != DIRECT}
    figure = Figure(figsize=(7.2, 0.62 * len(shown) + 1), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    rows = range(len(shown))
    for shift, kind, colour in ((-0.2, "rate at 32", "#2563eb"), (0.2, "streams at 32", "#15803d")):
        values = [each[kind] for each in shown.values()]
        label = "requests/s" if kind == "rate at 32" else f"streams of {CHUNKS} chunks/s"
        bars = axes.barh([row + shift for row in rows], values, height=0.38, color=colour, label=label)
        axes.bar_label(bars, [_three_digits(value) for value in values], padding=3, fontsize=8)
    axes.set_yticks(list(rows), list(shown), fontsize=8)
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel=f"a second on one core, {IN_FLIGHT} in flight (logarithmic)")
    axes.margins(x=0.12)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def _print(figures: Figures, goals: Sequence[Measure]) -> None:
    from rich.table import Table

    from base.terminal import console
    from benchmarks.measures import print_measures

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("")
    for figure, unit in FIGURES.items():
        table.add_column(f"{figure}, {unit}", justify="right")
    for name, found in figures.items():
        table.add_row(name, *(f"{found[figure]:.3g}" for figure in FIGURES))
    console(stderr=False).print(table)
    print_measures(goals)


if __name__ == "__main__":
    sys.exit(main())
