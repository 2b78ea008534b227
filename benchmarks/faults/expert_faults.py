"""Faults of experts' servers: one of two replicas fails, the only server of an expert, or all of them.

All are played before one service, each with an expert and servers of its own.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.faults.callers import IN_FLIGHT, Callers, calling
from benchmarks.faults.outcomes import Outcome, lost, next_s, told
from benchmarks.faults.processes import Fake, Processes, composed

FOLLOWING = 11
"""Bursts after the first, at a replica that fails from the start."""


@dataclass(frozen=True, slots=True)
class ExpertFault:
    """The server is started with `options`, and gets the signal `how` while it streams (None: it fails from
    its start). `alone`: it is its expert's only one."""

    options: Sequence[str] = ()
    how: signal.Signals | None = None
    alone: bool = False


FAULTS: Mapping[str, ExpertFault] = {
    "replica killed in the middle of streams": ExpertFault(how=signal.SIGKILL),
    "replica stalled in the middle of streams": ExpertFault(how=signal.SIGSTOP),
    "replica answers 500": ExpertFault(("--case", "500-string")),
    "replica answers with a web page": ExpertFault(("--case", "html")),
    "replica breaks into a web page after the first text": ExpertFault(("--case", "html-late")),
    "replica takes 0.4 s to the first text": ExpertFault(("--delay", "0.4")),
    "only server of an expert killed in the middle of streams": ExpertFault(how=signal.SIGKILL, alone=True),
}
CATEGORY = "coding"
"""Of the composition; which one matters to nothing."""
DOWN = "all servers of all experts killed"
CASES = (*FAULTS, DOWN)


async def played(processes: Processes, wanted: Collection[str]) -> AsyncIterator[Outcome]:
    """Play the `wanted` of CASES."""
    names = [each.name for each in composed()]
    owner = dict(zip(FAULTS, names, strict=False))
    others = processes.fake("others")
    bad = {
        name: processes.fake(f"bad-{owner[name]}", *fault.options)
        for name, fault in FAULTS.items()
        if name in wanted
    }
    good = {name: processes.fake(f"good-{owner[name]}") for name in bad if not FAULTS[name].alone}
    processes.ready(others, *bad.values(), *good.values())
    experts = {
        owner[name]: [server.endpoint, *([good[name].endpoint] if name in good else [])]
        for name, server in bad.items()
    }
    settings = {"COTERIE_DATA": str(processes.folder / "experts")}
    service = processes.service(experts, others.endpoint, settings)
    async with calling(service.url) as callers:
        for name, server in bad.items():
            yield await _played(name, owner[name], server, callers)
        if DOWN in wanted:
            yield await _all_down(processes, others, [*bad.values(), *good.values()], callers)


async def _played(name: str, expert: str, bad: Fake, callers: Callers) -> Outcome:
    fault, said = FAULTS[name], ""
    # Where the expert has nobody else, the router is asked.
    model = "coterie" if fault.alone else expert
    fields = _best(expert) if fault.alone else {}
    if fault.how is None:
        at, seen = time.perf_counter(), []
        for _ in range(1 + FOLLOWING):
            seen += await callers.burst(model, **fields)
        if any(each.server == bad.name for each in seen):
            there = sum(each.server == bad.name for each in seen[-IN_FLIGHT:])
            said = f"; of the last {IN_FLIGHT} requests {there} were answered by it"
    else:
        streams, ends = await callers.streams(model, **fields)
        if all(each.server != bad.name for each in streams):
            raise SystemExit(f"{name}: no stream met it")
        at = bad.signal(fault.how)
        following = await callers.burst(model, **fields)
        seen = [*await ends, *following]
        bad.signal(signal.SIGKILL)
    missing = await callers.missing(seen)
    return Outcome(name, told(seen) + said, next_s(seen, at, IN_FLIGHT), lost(seen), missing)


async def _all_down(processes: Processes, last: Fake, servers: Sequence[Fake], callers: Callers) -> Outcome:
    """`last` streams when it is killed. `next_s` is from when it is back."""
    for each in servers:
        each.signal(signal.SIGKILL)
    fields = _best(composed()[-1].name)
    _, ends = await callers.streams("coterie", **fields)
    last.signal(signal.SIGKILL)
    following = await callers.burst("coterie", **fields)
    seen = [*await ends, *following]
    back = processes.fake(last.name, port=last.port)
    await asyncio.to_thread(processes.ready, back)
    at = time.perf_counter()
    again = await callers.burst("coterie", **fields)
    said = f"{told(seen)}; when one is back: {told(again)}"
    seen += again
    return Outcome(DOWN, said, next_s(again, at, IN_FLIGHT), lost(seen), await callers.missing(seen))


def _best(expert: str) -> Mapping[str, Any]:
    """What makes the router think `expert` the best, whatever is asked."""
    return {"routing": {"category": CATEGORY, "boost": {expert: 10}}}
