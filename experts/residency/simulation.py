"""Replay of a stream of requests under a policy of residency: the very object that the service acts by, with
times of switches as parameters. A server answers any number of requests at once, each in the time that it is
given.
"""

import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from experts.residency.residency import Residency, ResidencyLimits, ResidentServer
from experts.residency.residency_policies import POLICIES, Belady, ResidencyPolicy
from experts.residency_settings import Absence

POLICY_NAMES = (*POLICIES, Belady.name)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: seconds from the beginning, for which server, and how long its answer takes."""

    at_s: float
    server: str
    answer_s: float


@dataclass(frozen=True, slots=True)
class SwitchTimes:
    """Seconds to wake a server by how it was away, and to put it to sleep.

    The defaults are the slower ends of what vLLM published (blog.vllm.ai/2025/10/26/sleep-mode.html; two
    small models on an A100): level 1 wakes in 0.26 to 0.82 s, level 2 in 0.85 to 2.58 s, a reload takes 30 to
    100 s."""

    level1_s: float = 0.82
    level2_s: float = 2.58
    stopped_s: float = 30.0
    sleep_s: float = 0.5

    def wake_s(self, absence: Absence) -> float:
        return {"level1": self.level1_s, "level2": self.level2_s, "stopped": self.stopped_s}[absence]


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a policy makes of a stream. `waits`: seconds of each request from its arrival to its server's
    being ready for it, in order; `hit_rate`: share that did not wait; `switches`: servers woken; `loaded`:
    the share of time that each server was resident."""

    policy: str
    leaves: Absence
    waits: tuple[float, ...]
    hit_rate: float
    switches: int
    loaded: Mapping[str, float] = field(default_factory=dict)

    @property
    def mean_wait_s(self) -> float:
        return float(np.mean(self.waits))

    def wait_s(self, percent: float) -> float:
        return float(np.percentile(self.waits, percent))

    def document(self) -> dict[str, object]:
        return {
            "policy": self.policy,
            "leaves": self.leaves,
            "requests": len(self.waits),
            "mean_wait_s": round(self.mean_wait_s, 4),
            "p50_wait_s": round(self.wait_s(50), 4),
            "p99_wait_s": round(self.wait_s(99), 4),
            "switches": self.switches,
            "switches_per_request": round(self.switches / len(self.waits), 4),
            "hit_rate": round(self.hit_rate, 4),
            "loaded": {name: round(share, 4) for name, share in self.loaded.items()},
        }


def policy_named(name: str, servers: Sequence[str], stream: Sequence[Arrival]) -> ResidencyPolicy:
    """A new policy; Belady's is told the stream. Raises KeyError."""
    if name == Belady.name:
        return Belady(servers, [each.server for each in stream])
    return {str(known): build for known, build in POLICIES.items()}[name](servers)


def simulate(
    stream: Sequence[Arrival],
    servers: Sequence[ResidentServer],
    limits: ResidencyLimits,
    times: SwitchTimes,
    policy: ResidencyPolicy,
) -> Simulated:
    """Replay `stream` (by rising time) from an empty memory, without bounds on queues. Raises ValueError for
    a server that never fits or a stream that is empty."""
    if not stream:
        raise ValueError("there is no request to replay")
    unbounded = replace(limits, max_waiting=len(stream) + 1)
    return _Run(stream, servers, unbounded, times, policy).result()


class _Run:
    """The event loop. Events at one time happen in the order: ends, switches, arrivals."""

    def __init__(
        self,
        stream: Sequence[Arrival],
        servers: Sequence[ResidentServer],
        limits: ResidencyLimits,
        times: SwitchTimes,
        policy: ResidencyPolicy,
    ) -> None:
        self._stream = stream
        self._times = times
        self._policy = policy
        self._limits = limits
        self._residency = Residency(servers, limits, policy)
        self._events: list[tuple[float, int, int, Callable[[float], bool]]] = []
        self._order = itertools.count()
        self._waits = [0.0] * len(stream)
        self._since: dict[str, float] = {}
        self._loaded = {server.name: 0.0 for server in servers}
        self._timer: float | None = None
        self._hits = 0

    def result(self) -> Simulated:
        for number, each in enumerate(self._stream):
            self._push(each.at_s, 3, partial(self._arrive, number))
        now = 0.0
        while self._events:
            now, _, _, happen = heapq.heappop(self._events)
            if happen(now):
                self._act(now)
        for name, since in self._since.items():
            self._loaded[name] += now - since
        span = max(now, 1e-9)
        return Simulated(
            self._policy.name,
            self._limits.leaves,
            tuple(self._waits),
            self._hits / len(self._stream),
            self._residency.switches,
            {name: seconds / span for name, seconds in self._loaded.items()},
        )

    def _act(self, now: float) -> None:
        step = self._residency.step(now)
        for ticket in step.granted:
            if isinstance(ticket, int):
                self._waits[ticket] = now - self._stream[ticket].at_s
                self._begin(ticket, now)
        for name, absence in step.wake:
            self._push(now + self._times.wake_s(absence), 2, partial(self._woke, name))
        for name, absence in step.sleep:
            self._loaded[name] += now - self._since.pop(name)
            self._push(now + self._times.sleep_s, 1, partial(self._slept, name, absence))
        if step.again_at is not None and (self._timer is None or step.again_at < self._timer):
            self._timer = step.again_at
            self._push(step.again_at, 1, self._time_is_up)

    def _begin(self, number: int, now: float) -> None:
        asked = self._stream[number]
        self._push(now + asked.answer_s, 0, lambda _: self._residency.finish(asked.server))

    # What happens; each says whether a step is due.

    def _arrive(self, number: int, now: float) -> bool:
        if not self._residency.request(number, self._stream[number].server, now):
            return True
        self._hits += 1
        self._begin(number, now)
        return False

    def _woke(self, name: str, now: float) -> bool:
        self._residency.woke(name)
        self._since[name] = now
        return True

    def _slept(self, name: str, absence: Absence, now: float) -> bool:
        self._residency.slept(name, absence)
        return True

    def _time_is_up(self, now: float) -> bool:
        self._timer = None
        return True

    def _push(self, at: float, rank: int, happen: Callable[[float], bool]) -> None:
        heapq.heappush(self._events, (at, rank, next(self._order), happen))
