"""Overhead of strategies, without their experts' time: `python -m benchmarks.strategy_overhead`.

Starts a fake expert and the API as separate processes and measures `single`, then strategies, then `single`
again: whether loaded strategy graphs slow down `single`, and what a graph adds to its calls. Overhead is the
latency of a request minus that of `single` and of the additional calls, each measured directly on the
fake expert. Prints a table; `--json FILE` writes the numbers.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measures import Measure, conclude
from benchmarks.service_overhead import SHORT, WARM_UP, Bench, ask_whole, resident_mb, running
from client import Client

if TYPE_CHECKING:
    from aiohttp import ClientSession

OWN_MS = 5.0
"""Bound on the own time that a strategy of two calls adds, at the median."""
UNTOUCHED_MS = 1.0
"""Bound on what having run strategies may add to `single`: less than runs differ by."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of asking. `further`: calls after the first; those side by side take the time of one."""

    name: str
    routing: Mapping[str, Any]
    further: int


@dataclass(frozen=True, slots=True)
class _Times:
    """Milliseconds: the median, and the 5th percentile, which a busy machine disturbs least."""

    p50: float
    p5: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns 1 when a bound does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strategy_overhead", description=__doc__)
    parser.add_argument("--profile", default="cpu", help="the shipped composition to route with")
    parser.add_argument("--requests", type=int, default=200, help="of each kind")
    parser.add_argument("--panels", type=int, default=200, help="panels in flight at once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    given = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="coterie-bench-") as scratch,
        running(given.profile, Path(scratch)) as bench,
    ):
        measures = asyncio.run(_measure(bench, given.requests, given.panels))
    return conclude(measures, given.json)


def ways(bench: Bench) -> list[Way]:
    """Two calls one after the other, in each of the two shapes that make them; and a panel."""
    with Client(bench.api) as api:
        names = [each.name for each in sorted(api.experts(), key=lambda each: each.active_params_b or 0.0)]
    weak, strong = names[0], names[-1]
    unsure = {"threshold": 1.0, "weak": weak, "strong": strong}
    # The fake's critique is a new text every time, so a chain always goes to its third call.
    return [
        Way("cascade, both experts", {"strategy": "cascade", "options": unsure}, 1),
        Way("panel of two, one voice", {"strategy": "panel", "options": {"members": [weak, strong]}}, 0),
        Way("chain of three calls", {"strategy": "chain"}, 2),
    ]


async def _measure(bench: Bench, requests: int, panels: int) -> list[Measure]:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        before = await _medians(session, bench, [], requests)
        memory = resident_mb(bench.pid, "VmHWM")
        strategies = await asyncio.to_thread(ways, bench)
        during = await _medians(session, bench, strategies, requests)
        processor = {
            way.name: await _processor(session, bench, way.routing, requests)
            for way in (Way("single", {"strategy": "single"}, 0), *strategies)
        }
        loaded = resident_mb(bench.pid, "VmHWM")
        after = await _medians(session, bench, [], requests)
        seconds, failed = await _at_once(session, bench, panels)
    rows = [
        Measure("expert alone, p50", during["expert"].p50, "ms"),
        Measure("single before any strategy, p50", before["single"].p50, "ms"),
        Measure("single after strategies ran, p50", after["single"].p50, "ms"),
        Measure("added to single by strategies having run", _added(before, after), "ms", UNTOUCHED_MS),
    ]
    for way in strategies:
        whole, single, expert = during[way.name], during["single"], during["expert"]
        own = whole.p50 - single.p50 - way.further * expert.p50
        bound = OWN_MS if way.further == 1 else None
        rows.append(Measure(f"{way.name}, p50", whole.p50, "ms"))
        rows.append(Measure(f"{way.name}: own time, p50", own, "ms", bound))
        least = whole.p5 - single.p5 - way.further * expert.p5
        rows.append(Measure(f"{way.name}: own time, p5", least, "ms"))
        added = processor[way.name] - processor["single"]
        rows.append(Measure(f"{way.name}: processor time, mean", added, "ms"))
    return [
        *rows,
        Measure(f"{panels} panels at once", seconds, "s"),
        Measure(f"{panels} panels at once: errors", failed, "", 0),
        Measure("API process before strategies, peak resident", memory, "MB"),
        Measure("API process with them loaded, peak resident", loaded, "MB"),
    ]


def _added(before: Mapping[str, _Times], after: Mapping[str, _Times]) -> float:
    """The difference of `single` minus that of the expert alone, which cancels background load."""
    return (after["single"].p50 - after["expert"].p50) - (before["single"].p50 - before["expert"].p50)


async def _medians(
    session: "ClientSession", bench: Bench, strategies: Sequence[Way], requests: int
) -> dict[str, "_Times"]:
    """Kinds of requests interleaved, so that background load affects all equally."""
    found: dict[str, list[float]] = {name: [] for name in ("expert", "single", *(w.name for w in strategies))}
    for number in range(WARM_UP + requests):
        took = {
            "expert": await ask_whole(session, bench.expert, "fake"),
            "single": await ask_whole(session, bench.api, "coterie"),
        }
        for way in strategies:
            took[way.name] = await _ask(session, bench, way.routing)
        if number >= WARM_UP:
            for name, milliseconds in took.items():
                found[name].append(milliseconds)
    return {name: _Times(statistics.median(v), sorted(v)[len(v) // 20]) for name, v in found.items()}


async def _ask(session: "ClientSession", bench: Bench, routing: Mapping[str, Any]) -> float:
    """Milliseconds until the complete answer. Raises RuntimeError if no strategy ran."""
    started = time.perf_counter()
    async with session.post(f"{bench.api}/chat/completions", json=_body(routing)) as response:
        response.raise_for_status()
        document = await response.json()
    took = (time.perf_counter() - started) * 1000
    if document["routing"]["strategy"] != routing["strategy"]:
        raise RuntimeError(f"{routing['strategy']} did not run: {document['routing']['strategy_detail']}")
    return took


async def _processor(
    session: "ClientSession", bench: Bench, routing: Mapping[str, Any], requests: int
) -> float:
    """CPU time of the API's process per request, milliseconds."""
    before = _processor_ms(bench.pid)
    for _ in range(requests):
        await _ask(session, bench, routing)
    return (_processor_ms(bench.pid) - before) / requests


def _processor_ms(pid: int) -> float:
    """User and system CPU time of a process, milliseconds (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


async def _at_once(session: "ClientSession", bench: Bench, panels: int) -> tuple[float, int]:
    """Seconds until `panels` concurrent panels have answered, and the number of failures."""

    async def panel() -> bool:
        async with session.post(
            f"{bench.api}/chat/completions", json=_body({"strategy": "panel"})
        ) as response:
            await response.read()
            return response.status == 200

    started = time.perf_counter()
    done = await asyncio.gather(*(panel() for _ in range(panels)))
    return time.perf_counter() - started, done.count(False)


def _body(routing: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": "coterie",
        "messages": [{"role": "user", "content": SHORT}],
        "routing": dict(routing),
        "fake": {"reply": "Like this."},
    }


if __name__ == "__main__":
    sys.exit(main())
