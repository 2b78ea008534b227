"""Coterie beside other front ends on one core: `python -m benchmarks.front_end`.

Starts each contestant in a process of its own, pinned to a core, and on another core an expert that costs
nothing (`benchmarks.bare_servers`) and this client. Rounds alternate between the contestants, so that
background load meets all alike; each figure is the median of the rounds. `bare` is an ASGI function on
Granian that hands requests on with aiohttp and does nothing else: what Python can do. `direct` is the expert
itself, and bounds what this client can see. Compare ratios, not figures of different runs or machines. Where
other work keeps the cores busy, latencies and rates tell mostly of that; the processor's time a request tells
less of it, and is the reciprocal of the rate on a core of its own.

`--litellm` adds LiteLLM's proxy, installed under var/ on first use. `--json FILE` writes the numbers, and
`--page` a table of them into docs/explanation/front-end.md.
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
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from benchmarks.bare_servers import CHUNKS
from benchmarks.measured_pages import fill_page
from benchmarks.measures import Measure, write_measures
from benchmarks.server_processes import PROJECT, answers, free_port, start, stub_registry
from prompts.seeds import load_seeds

IN_FLIGHT = 32
WARM_UP = 20
LITELLM = "litellm[proxy]"
LITELLM_HOME = PROJECT / "var" / "peers" / "litellm"

DIRECT, BARE, NAMED, ROUTED, PROXY = "direct", "bare", "Coterie, named", "Coterie, routed", "LiteLLM proxy"

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
    parser.add_argument("--litellm", action="store_true", help="LiteLLM's proxy too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    parser.add_argument("--page", type=Path, help="the page whose measured table is replaced")
    given = parser.parse_args(arguments)
    cores = sorted(os.sched_getaffinity(0))
    ours, theirs = cores[0], cores[-1]
    with (
        tempfile.TemporaryDirectory(prefix="coterie-bench-") as scratch,
        _running(given.profile, Path(scratch), ours, theirs, litellm=given.litellm) as running,
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
        fill_page(given.page, "<!-- measured: front ends -->", "<!-- end -->", _table(figures))
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
    document = {
        "model": contestant.model,
        "messages": [{"role": "user", "content": prompt}],
        "stream": stream,
    }
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
    whole = body.count(b"data: ") > CHUNKS and b"[DONE]" in body if stream else b'"content"' in body
    if b" 200 " not in head.split(b"\r\n", 1)[0] or not whole:
        raise SystemExit(f"{contestant.name} answered {(head + body)[:1000]!r}")


@contextlib.contextmanager
def _running(
    profile: str, scratch: Path, ours: int, theirs: int, *, litellm: bool
) -> Iterator[list[Contestant]]:
    """The contestants, started; the expert is on core `ours`, they are on `theirs`."""
    stub, bare, coterie, proxy = (free_port() for _ in range(4))
    endpoint = f"http://127.0.0.1:{stub}/v1"
    registry = stub_registry(profile, endpoint, "stub", scratch / "experts.yaml")
    named = yaml.safe_load(registry.read_text())["experts"][0]["name"]
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
            if not answers(process, port, path):
                raise SystemExit(f"{path} did not answer:\n{(scratch / 'log').read_text()[-2000:]}")

        expert = start(stack, _granian("expert", stub), environment, log, core=ours)
        ready(expert, stub, "/v1/models")
        least = start(stack, _granian("forward", bare), environment, log, core=theirs)
        service = start(stack, ["app.cli", "serve"], environment, log, core=theirs)
        ready(least, bare, "/v1/models")
        ready(service, coterie, "/readyz")
        found = [
            Contestant(DIRECT, stub, "stub", expert.pid),
            Contestant(BARE, bare, "stub", least.pid),
            Contestant(NAMED, coterie, named, service.pid),
            Contestant(ROUTED, coterie, "coterie", service.pid),
        ]
        if litellm:
            process = _litellm(stack, scratch, endpoint, proxy, log, theirs)
            ready(process, proxy, "/health/liveliness")
            found.append(Contestant(PROXY, proxy, "stub", process.pid))
        yield found


def _granian(function: str, port: int) -> list[str]:
    options = f"--interface asgi --loop uvloop --port {port} --no-ws --log-level warning"
    return ["granian", *options.split(), f"benchmarks.bare_servers:{function}"]


def _litellm(
    stack: contextlib.ExitStack, scratch: Path, endpoint: str, port: int, log: IO[str], core: int
) -> subprocess.Popen[bytes]:
    """LiteLLM's proxy in an environment of its own, without a database."""
    python = LITELLM_HOME / "bin" / "python"
    if not python.exists():
        venv.create(LITELLM_HOME, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", LITELLM], check=True)
    parameters: dict[str, Any] = {"model": "openai/stub", "api_base": endpoint, "api_key": "none"}
    config = scratch / "litellm.yaml"
    config.write_text(yaml.safe_dump({"model_list": [{"model_name": "stub", "litellm_params": parameters}]}))
    environment = {
        **os.environ,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        # On loopback for a few minutes, and without keys like Coterie here.
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    environment.pop("PYTHONPATH", None)
    words = ["litellm.proxy.proxy_cli", "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    return start(stack, words, environment, log, python=str(python), core=core)


def _table(figures: Figures) -> str:
    """The processor's time as a table of a page: what does not tell of other work on the machine."""
    heads = [f"{figure}, {FIGURES[figure]}" for figure in ("CPU", "CPU, streams")]
    lines = [["", *heads, "request, times bare", "stream, times bare"], ["---", *["--:"] * 4]]
    for name, found in figures.items():
        cells = [f"{found[figure]:.3g}" for figure in ("CPU", "CPU, streams")]
        cells += [f"{found[figure] / figures[BARE][figure]:.2g}" for figure in ("CPU", "CPU, streams")]
        lines.append([name, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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
