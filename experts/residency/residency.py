"""The state of residency and what to do about it: who is loaded, in use and waited for, and which servers to
wake and put to sleep now. Pure: times are given, nothing is called. The service acts on it, and the
simulation replays it, so what is measured is what is served.

Servers, not experts: arms of one model share a server. A request holds a *ticket*. It is granted at once
where its server is resident; else it waits, first come first served among servers. Whoever is in use is never
put to sleep. A server gives way at once when nobody uses it, else when a request for another has waited
`batch_s`: it then takes no new requests and goes when those that it has are answered, so that requests are
batched by server before a switch.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from experts.residency.residency_policies import ResidencyPolicy
from experts.residency_settings import BATCH_S, Absence

ResidencyState = Literal["resident", "waking", "leaving", "asleep"]
MOST_DOUBLINGS = 6
"""Of `cooldown_s`, by failures in a row."""
ROUNDING = 1e-9
"""GB."""


class TooManyWaiting(Exception):
    """As many requests wait for the server as may."""


@dataclass(frozen=True, slots=True)
class ResidentServer:
    """What is loaded as a whole. GB: `memory_gb` while loaded, `asleep_gb` of the same memory in sleep levels
    1 and 2, `weights_gb` of host memory in level 1."""

    name: str
    memory_gb: float
    weights_gb: float = 0.0
    asleep_gb: float = 0.0


@dataclass(frozen=True, slots=True)
class ResidencyLimits:
    """`memory_gb`: for all loaded servers; `host_memory_gb`: for the weights of those in level 1, others go
    into level 2; `leaves`: how servers leave memory; `batch_s`: how long requests wait before a server in use
    must give way; `max_waiting`: requests for each server; `prefetch`: how much likelier than all who give
    way for it a server must be to be loaded in advance, above 1 never; `cooldown_s`: after a failed wake,
    before a server is loaded in advance again."""

    memory_gb: float
    host_memory_gb: float = math.inf
    leaves: Absence = "level1"
    batch_s: float = BATCH_S["level1"]
    max_waiting: int = 64
    prefetch: float = 0.1
    cooldown_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now: tickets that may go on, servers to wake (from where) and to put to sleep (how), and
    when to ask again at the latest (None: after the next event)."""

    granted: tuple[Hashable, ...] = ()
    wake: tuple[tuple[str, Absence], ...] = ()
    sleep: tuple[tuple[str, Absence], ...] = ()
    again_at: float | None = None


@dataclass(slots=True)
class _Seat:
    """One server's state. `waiting`: tickets with their arrivals, oldest first."""

    server: ResidentServer
    absence: Absence
    state: ResidencyState = "asleep"
    in_use: int = 0
    waiting: dict[Hashable, float] = field(default_factory=dict)
    closing: bool = False
    """Takes no new requests, so that it can leave."""
    lost: bool = False
    """Its memory counts as taken though it does not answer."""
    failures: int = 0
    """In a row."""
    no_prefetch_before: float = -math.inf

    @property
    def oldest(self) -> float:
        return next(iter(self.waiting.values()))

    @property
    def taken_gb(self) -> float:
        if self.state != "asleep" or self.lost:
            return self.server.memory_gb
        return self.kept_gb

    @property
    def kept_gb(self) -> float:
        """What it keeps of the memory while it is asleep."""
        return 0.0 if self.absence == "stopped" else self.server.asleep_gb

    @property
    def freed_gb(self) -> float:
        """What its leaving frees."""
        return self.server.memory_gb - self.server.asleep_gb


class Residency:
    """Tell it every event, and do what `step` says after each that is not said to change nothing. All servers
    begin asleep, `absence` away. Raises ValueError for a server that never fits."""

    def __init__(
        self,
        servers: Sequence[ResidentServer],
        limits: ResidencyLimits,
        policy: ResidencyPolicy,
        *,
        absence: Mapping[str, Absence] | None = None,
    ) -> None:
        for server in servers:
            if server.memory_gb > limits.memory_gb + ROUNDING:
                raise ValueError(
                    f"{server.name} takes {server.memory_gb:g} GB, more than the {limits.memory_gb:g} GB "
                    "there are"
                )
        self.limits = limits
        self.policy = policy
        begun = absence or {}
        self._seats = {each.name: _Seat(each, begun.get(each.name, limits.leaves)) for each in servers}
        self.switches = 0
        """Servers woken so far."""

    def state(self, server: str) -> ResidencyState:
        return self._seats[server].state

    def absence(self, server: str) -> Absence | None:
        """How the server is out of memory; None unless it is asleep."""
        seat = self._seats[server]
        return seat.absence if seat.state == "asleep" else None

    def lost(self, server: str) -> bool:
        """Whether nobody knows how the server is away."""
        return self._seats[server].lost

    def waiting(self, server: str) -> int:
        return len(self._seats[server].waiting)

    def in_use(self, server: str) -> int:
        return self._seats[server].in_use

    @property
    def taken_gb(self) -> float:
        return sum(seat.taken_gb for seat in self._seats.values())

    def request(self, ticket: Hashable, server: str, now: float) -> bool:
        """A request for `server`; True when it may go on at once, and no step is due. Raises
        `TooManyWaiting`."""
        self.policy.observe(server)
        seat = self._seats[server]
        if seat.state == "resident" and not seat.closing:
            seat.in_use += 1
            return True
        if len(seat.waiting) >= self.limits.max_waiting:
            raise TooManyWaiting
        seat.waiting[ticket] = now
        return False

    def leave(self, ticket: Hashable, server: str) -> None:
        """A waiting request has given up."""
        self._seats[server].waiting.pop(ticket, None)

    def finish(self, server: str) -> bool:
        """A granted request is done; True when a step is due."""
        seat = self._seats[server]
        seat.in_use -= 1
        return seat.in_use == 0

    def woke(self, server: str) -> None:
        """The server is loaded, as was asked for or by itself."""
        seat = self._seats[server]
        seat.state, seat.lost, seat.failures = "resident", False, 0

    def wake_failed(self, server: str, now: float, *, lost: bool = False) -> tuple[Hashable, ...]:
        """It could not be woken; returns who waited for it, and no longer does. `lost`: it may take its
        memory all the same."""
        self.died(server, now, lost=lost)
        return self.dismiss(server)

    def dismiss(self, server: str) -> tuple[Hashable, ...]:
        """Who waits for the server, and no longer does."""
        waiting = self._seats[server].waiting
        waited = tuple(waiting)
        waiting.clear()
        return waited

    def slept(self, server: str, absence: Absence) -> None:
        """It has left memory, this way."""
        seat = self._seats[server]
        seat.state, seat.absence, seat.closing, seat.lost = "asleep", absence, False, False

    def died(self, server: str, now: float, *, lost: bool = False) -> None:
        """Its process has ended, or no longer answers (`lost`)."""
        self.slept(server, "stopped")
        seat = self._seats[server]
        pause_s = self.limits.cooldown_s * 2 ** min(seat.failures, MOST_DOUBLINGS)
        seat.lost, seat.no_prefetch_before = lost, now + pause_s
        seat.failures += 1

    def step(self, now: float) -> Step:
        """What to do at `now`, in seconds on the clock of all events."""
        granted = self._grant(seat for seat in self._seats.values() if not seat.closing)
        wake: list[_Seat] = []
        again_at = self._make_room(now, wake)
        reopened = [seat for seat in self._seats.values() if seat.state == "resident" and not seat.closing]
        granted += self._grant(reopened)
        if again_at is None and not any(seat.waiting for seat in self._seats.values()):
            self._prefetch(now, wake)
        leaving = [
            seat
            for seat in self._seats.values()
            if seat.state == "resident" and seat.closing and not seat.in_use
        ]
        woken = tuple((seat.server.name, seat.absence) for seat in wake)
        for seat in wake:
            seat.state = "waking"
        self.switches += len(wake)
        sleep = tuple((seat.server.name, self._leave(seat)) for seat in leaving)
        return Step(tuple(granted), woken, sleep, again_at)

    def _grant(self, seats: Iterable[_Seat]) -> list[Hashable]:
        granted: list[Hashable] = []
        for seat in seats:
            if seat.state == "resident" and seat.waiting:
                granted += seat.waiting
                seat.in_use += len(seat.waiting)
                seat.waiting.clear()
        return granted

    def _make_room(self, now: float, wake: list[_Seat]) -> float | None:
        """Wake who is waited for, and mark who gives way for it as closing; returns when requests in use must
        give way that need not yet."""
        seats = self._seats.values()
        free = self.limits.memory_gb - self.taken_gb
        coming = sum(seat.freed_gb for seat in seats if seat.state == "leaving" or seat.closing)
        again_at = None
        # More was awake when we came than fits, or somebody else woke it.
        for each in self._giving_way(-free - coming, idle_alone=True):
            each.closing = True
            coming += each.freed_gb
        wanted = [seat for seat in seats if seat.state == "asleep" and seat.waiting]
        for seat in sorted(wanted, key=lambda each: each.oldest):
            need = seat.server.memory_gb - seat.taken_gb
            if need <= max(free, 0.0) + ROUNDING:  # a lost one has its memory already
                wake.append(seat)
                free -= need
                continue
            short = need - free - coming
            if short > ROUNDING:
                due = seat.oldest + self.limits.batch_s
                giving_way = self._giving_way(short, idle_alone=now < due)
                if not giving_way:
                    again_at = due if again_at is None and now < due else again_at
                    continue
                for each in giving_way:
                    each.closing = True
                    coming += each.freed_gb
            # What is free or will be is kept for it: whoever comes later does not overtake it.
            from_free = min(max(free, 0.0), need)
            free -= from_free
            coming -= need - from_free
        self._reopen(coming + min(free, 0.0))
        return again_at

    def _giving_way(self, short: float, *, idle_alone: bool) -> list[_Seat]:
        """Who leaves to free `short` GB: those that nobody uses first, by what they are worth keeping; none
        when that is not enough."""
        worth = self.policy.worth()
        candidates = [
            seat
            for seat in self._seats.values()
            if seat.state == "resident" and not seat.closing and not (idle_alone and seat.in_use)
        ]
        chosen: list[_Seat] = []
        for seat in sorted(candidates, key=lambda each: (each.in_use > 0, worth[each.server.name])):
            if short <= ROUNDING:
                break
            chosen.append(seat)
            short -= seat.freed_gb
        return chosen if short <= ROUNDING else []

    def _reopen(self, spare: float) -> None:
        """Those whose leaving nobody needs any more (the requests have given up) take requests again."""
        for seat in self._seats.values():
            if seat.closing and seat.state == "resident" and seat.freed_gb <= spare + ROUNDING:
                seat.closing = False
                spare -= seat.freed_gb

    def _prefetch(self, now: float, wake: list[_Seat]) -> None:
        """Load the likeliest server in advance: into free memory, or where it is likelier than those that
        give way by the margin. One at a time, and only while nobody waits."""
        likely = self.policy.likely()
        if not likely or wake or any(seat.state in {"waking", "leaving"} for seat in self._seats.values()):
            return
        asleep = [
            seat
            for seat in self._seats.values()
            if seat.state == "asleep" and not seat.lost and seat.no_prefetch_before <= now
        ]
        for seat in sorted(asleep, key=lambda each: -likely[each.server.name]):
            need = seat.server.memory_gb - seat.taken_gb
            short = need - (self.limits.memory_gb - self.taken_gb)
            if short <= ROUNDING:
                wake.append(seat)
                return
            giving_way = self._giving_way(short, idle_alone=True)
            if not giving_way:
                continue
            rivals = sum(likely[each.server.name] for each in giving_way)
            # Strictly, or equals would take turns for ever.
            if likely[seat.server.name] - rivals > self.limits.prefetch + ROUNDING:
                for each in giving_way:
                    each.closing = True
                return

    def _leave(self, seat: _Seat) -> Absence:
        """Begin to put it to sleep; returns how."""
        host = sum(
            each.server.weights_gb
            for each in self._seats.values()
            if each.absence == "level1" and each.state in {"asleep", "leaving"}
        )
        absence = self.limits.leaves
        if absence == "level1" and host + seat.server.weights_gb > self.limits.host_memory_gb + ROUNDING:
            absence = "level2"
        seat.state, seat.absence = "leaving", absence
        return absence
