"""Overhead of the service: `python -m benchmarks.service_overhead`.

Starts a fake expert and the API with the shipped composition as separate processes, and measures as a
client: start-up time, added latency (including routing and the encoder) and memory. Prints a table;
`--json FILE` writes the numbers. On a busy machine prefer CPU time to wall time.
"""

import argparse
import asyncio
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measures import Measure, conclude
from benchmarks.server_processes import PROJECT, answers, free_port, start, stub_registry

if TYPE_CHECKING:
    from aiohttp import ClientSession

SHORT = "Write a Python function that reverses a linked list."
WARM_UP = 30
IMPORTS = 5

Latencies = Mapping[str, Sequence[float]]
"""Milliseconds by kind of request, in order of sending."""


@dataclass(frozen=True, slots=True)
class Bench:
    """A running fake expert and API."""

    expert: str
    api: str
    ready_s: float
    """Seconds from the start of the API's process to the first successful /readyz."""
    ready_cpu_s: float
    """CPU seconds of the API's process until then."""
    pid: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service_overhead", description=__doc__)
    parser.add_argument("--profile", default="cpu", help="the shipped composition to route with")
    parser.add_argument("--requests", type=int, default=300, help="of each kind, one after the other")
    parser.add_argument("--concurrency", type=int, default=32, help="in flight, for the rate")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    given = parser.parse_args(arguments)
    measures = [_import_time(), _help_time()]
    with (
        tempfile.TemporaryDirectory(prefix="coterie-bench-") as scratch,
        running(given.profile, Path(scratch)) as bench,
    ):
        measures += asyncio.run(_measure(bench, given.requests, given.concurrency))
    return conclude(measures, given.json)


def _import_time() -> Measure:
    """Seconds that `import app` takes in a fresh interpreter, the best of a few."""
    code = "import time; t = time.perf_counter(); import app; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", code]
    times = [
        float(subprocess.run(command, cwd=PROJECT, capture_output=True, check=True).stdout)
        for _ in range(IMPORTS)
    ]
    return Measure("import app", min(times), "s", 0.5)


def _help_time() -> Measure:
    """CPU seconds of `coterie --help`, the best of a few."""
    times = []
    for _ in range(IMPORTS):
        before = _children_cpu_s()
        command = [sys.executable, "-m", "app.cli", "--help"]
        subprocess.run(command, cwd=PROJECT, capture_output=True, check=True)
        times.append(_children_cpu_s() - before)
    return Measure("coterie --help, CPU", min(times), "s", 0.4)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _measure(bench: Bench, requests: int, concurrency: int) -> list[Measure]:
    import aiohttp

    async with aiohttp.ClientSession() as session:
        latencies = await _latencies(session, bench, requests)
        rate = await _rate(session, bench, requests, concurrency)
    medians = {name: statistics.median(values) for name, values in latencies.items()}
    tails = {name: statistics.quantiles(values, n=20)[-1] for name, values in latencies.items()}
    added = medians["api"] - medians["expert"]
    added_stream = medians["api, first byte"] - medians["expert, first byte"]
    return [
        Measure("API ready after start", bench.ready_s, "s", 2),
        Measure("API ready, CPU", bench.ready_cpu_s, "s", 2),
        Measure("expert alone, p50", medians["expert"], "ms"),
        Measure("through the API, p50", medians["api"], "ms"),
        Measure("through the API, p95", tails["api"], "ms"),
        Measure("added by the API, p50", added, "ms", 8),
        Measure("added to the first byte of a stream, p50", added_stream, "ms", 8),
        Measure(f"rate with {concurrency} in flight", rate, "requests/s"),
        Measure("API process, resident", resident_mb(bench.pid), "MB", 200),
        Measure("API process, peak resident", resident_mb(bench.pid, "VmHWM"), "MB"),
    ]


async def _latencies(session: "ClientSession", bench: Bench, requests: int) -> Latencies:
    """Kinds of requests interleaved, so that background load affects all equally."""
    kinds: dict[str, Callable[[], Awaitable[float]]] = {
        "expert": lambda: ask_whole(session, bench.expert, "fake"),
        "api": lambda: ask_whole(session, bench.api, "coterie"),
        "expert, first byte": lambda: ask_first_byte(session, bench.expert, "fake"),
        "api, first byte": lambda: ask_first_byte(session, bench.api, "coterie"),
    }
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(WARM_UP + requests):
        for name, ask in kinds.items():
            milliseconds = await ask()
            if number >= WARM_UP:
                found[name].append(milliseconds)
    return found


async def ask_whole(session: "ClientSession", base: str, model: str) -> float:
    """Milliseconds until the complete answer."""
    started = time.perf_counter()
    async with session.post(f"{base}/chat/completions", json=_body(model, stream=False)) as response:
        response.raise_for_status()
        await response.read()
    return (time.perf_counter() - started) * 1000


async def ask_first_byte(session: "ClientSession", base: str, model: str) -> float:
    """Milliseconds until the first byte of a stream; reads the rest too."""
    started = time.perf_counter()
    async with session.post(f"{base}/chat/completions", json=_body(model, stream=True)) as response:
        response.raise_for_status()
        await response.content.readany()
        took = (time.perf_counter() - started) * 1000
        await response.read()
    return took


async def _rate(session: "ClientSession", bench: Bench, requests: int, concurrency: int) -> float:
    """Complete answers per second with `concurrency` requests in flight."""
    left = iter(range(requests * 2))

    async def ask() -> None:
        for _ in left:
            await ask_whole(session, bench.api, "coterie")

    started = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(concurrency)))
    return requests * 2 / (time.perf_counter() - started)


def _body(model: str, *, stream: bool) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": SHORT}],
        "stream": stream,
        "fake": {"reply": "Like this."},
    }


@contextlib.contextmanager
def running(profile: str, scratch: Path, *, max_in_flight: int = 256) -> Iterator[Bench]:
    registry = scratch / "experts.yaml"
    expert_port, api_port = free_port(), free_port()
    expert = f"http://127.0.0.1:{expert_port}/v1"
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        "COTERIE_PROFILE": profile,
        "COTERIE_EXPERTS": str(stub_registry(profile, expert, "fake", registry, max_in_flight=max_in_flight)),
        "COTERIE_DATA": str(scratch / "var"),
        "COTERIE_PORT": str(api_port),
        "COTERIE_LOG_LEVEL": "info",
        # Every request asks the same: each is to be read.
        "COTERIE_ENCODER_CACHE": "0",
    }
    with (scratch / "log").open("w") as log, contextlib.ExitStack() as stack:
        fake = start(stack, ["experts.fake", "--port", str(expert_port)], environment, log)
        started = time.perf_counter()
        api = start(stack, ["app.cli", "serve"], environment, log)
        for process, port, path in ((fake, expert_port, "/health"), (api, api_port, "/readyz")):
            if not answers(process, port, path):
                raise SystemExit(f"{path} did not answer:\n{(scratch / 'log').read_text()[-2000:]}")
        ready_s = time.perf_counter() - started
        yield Bench(expert, f"http://127.0.0.1:{api_port}/v1", ready_s, _cpu_s(api.pid), api.pid)


def _cpu_s(pid: int) -> float:
    """CPU seconds that the process has used (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int, field: str = "VmRSS") -> float:
    """Resident memory of the process, MB; `VmHWM` gives its peak (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    return float("nan")


if __name__ == "__main__":
    sys.exit(main())
