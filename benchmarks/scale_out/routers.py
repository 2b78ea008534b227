"""The service's processes in front of the fleet: how long requests wait to be read, and how many cores that
takes.

Each process is a queue of its own, first come first served, since connections are spread over processes
whatever they are busy with. Knows no experts.
"""

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.scale_out.costs import RouterCosts
from benchmarks.scale_out.traffic import Floats

BUSY = 0.9
"""Above this a process is taken for overloaded."""


@dataclass(frozen=True, slots=True)
class Front:
    """`processes` of one core each: the share of their time in use, and seconds of waiting."""

    processes: int
    busy: float
    wait_p50_s: float
    wait_p99_s: float


def waits(at_s: Floats, service_s: float) -> Floats:
    """Seconds that each request waits in one queue with a constant time of service (Lindley's recursion, in
    closed form). `at_s` rises."""
    before = np.arange(len(at_s)) * service_s
    return np.asarray(np.maximum.accumulate(at_s - before) + before - at_s)


def front(
    rate: float, chunks: float, costs: RouterCosts, processes: int, seconds: float, seed: int = 0
) -> Front:
    """Of `rate` requests a second with `chunks` each. Chunks of answers in flight take their share of a
    process all the time, so that reading is slower by it."""
    busy = rate * costs.answer_s(chunks) / processes
    if busy >= 1:
        return Front(processes, busy, math.inf, math.inf)
    slowed = costs.request_s / (1 - rate * chunks * costs.chunk_s / processes)
    random = np.random.default_rng(seed)
    found = []
    for _ in range(min(processes, 16)):
        arrivals = np.sort(random.uniform(0, seconds, random.poisson(rate / processes * seconds)))
        found.append(waits(arrivals, slowed))
    waited = np.concatenate(found)
    return Front(processes, busy, float(np.percentile(waited, 50)), float(np.percentile(waited, 99)))


def smallest(rate: float, chunks: float, costs: RouterCosts, wait_p99_s: float, seconds: float) -> Front:
    """The fewest processes, in steps of 2 %, whose p99 of waiting is at most `wait_p99_s`."""
    processes = math.ceil(rate * costs.answer_s(chunks) / BUSY)
    while True:
        found = front(rate, chunks, costs, processes, seconds)
        if found.wait_p99_s <= wait_p99_s:
            return found
        processes = math.ceil(processes * 1.02)
