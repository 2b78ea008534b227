"""Admission control: bounded concurrency and a bounded, fair queue in front of an expert's servers.

Experts behind the same endpoint share its places and its queue. Where there are replicas, a request is given
its place, and with it its replica, when one is free: nobody queues at a server.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from experts.errors import ExpertError, QueueFull
from experts.expert import Expert
from experts.fair_queue import FairQueue, Priority

if TYPE_CHECKING:
    from experts.replicas.pool import Asked, ReplicaPool, Sent

DECAY = 0.9
LONGEST_WAIT_S = 300.0
"""The most that `retry-after` says."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `key` is opaque: places are shared out fairly between keys. `session` is the same in all
    requests of a conversation; `replica` (`experts.replicas.pool.replica_id`) has it, and has read `share`
    (0..1) of the prompt; `held`: it alone can go on."""

    key: str | None = None
    priority: Priority = "interactive"
    session: str = ""
    replica: str | None = None
    share: float = 0.0
    held: bool = False


NOBODY = Caller()


@dataclass(frozen=True, slots=True)
class Load:
    """Current load of an expert's servers by this process."""

    in_flight: int
    queued: int


class Admission:
    """A gate for the servers of each expert. Belongs to one event loop."""

    def __init__(self) -> None:
        self._gates: dict[str, _Gate] = {}

    def slot(self, expert: Expert, caller: Caller = NOBODY, asked: "Asked | None" = None) -> "Slot":
        """A place at one of the expert's servers, as an asynchronous context manager. Entering it waits in
        the queue, and raises `QueueFull`: when `max_queued` requests wait already, and when none became free,
        or will, in `timeouts.first_byte_s`. `asked`: for experts with replicas."""
        return Slot(self._gate(expert), expert, caller, asked)

    def load(self, expert: Expert) -> Load:
        """The load of the expert's servers."""
        gate = self._gates.get(endpoint_key(expert))
        return Load(gate.in_flight, len(gate.queue)) if gate else Load(0, 0)

    def pool(self, expert: Expert) -> "ReplicaPool | None":
        """What is known of the expert's replicas; None where there is one server."""
        return self._gate(expert).pool if expert.replicas else None

    def recheck(self, expert: Expert) -> None:
        """A replica may be usable again: let those who wait have its places."""
        self._gate(expert).serve()

    def _gate(self, expert: Expert) -> "_Gate":
        key = endpoint_key(expert)
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates[key] = _Gate(expert)
        return gate


class Slot:
    """A place, while it is entered. `expert` is the one of its server: with the endpoint of the replica."""

    def __init__(self, gate: "_Gate", expert: Expert, caller: Caller, asked: "Asked | None") -> None:
        self.expert = expert
        self.caller = caller
        self.asked = asked
        self.sent: Sent | None = None
        self.granted: asyncio.Future[None] | None = None
        self._gate = gate
        self._since = 0.0

    @property
    def number(self) -> int:
        """Of the replica, from 0."""
        return 0 if self.sent is None else self.sent.number

    async def __aenter__(self) -> "Slot":
        gate = self._gate
        if gate.queue or not gate.take(self):
            await gate.wait(self)
        if self.sent is not None and gate.pool is not None:
            self.expert = self.expert.at(gate.pool.endpoints[self.sent.number])
        self._since = time.monotonic()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gate.release(self, time.monotonic() - self._since)

    def began(self, *, first_token: bool) -> None:
        """The server answers; `first_token`: its answer has just begun, else it is whole."""
        if self.sent is not None and self._gate.pool is not None:
            self._gate.pool.began(self.sent, self.expert.model, first_token=first_token)

    def succeeded(self) -> None:
        """Its streamed answer is whole."""
        if self.sent is not None and self._gate.pool is not None:
            self._gate.pool.succeeded(self.sent, self.expert.model)

    def failed(self, error: ExpertError) -> None:
        """It failed; told once, for the health of the replica."""
        if self.sent is not None and self._gate.pool is not None:
            self._gate.pool.failed(self.sent, self.expert.model, error)


class _Gate:
    """The places of the servers behind one endpoint and its replicas, and who waits for them."""

    def __init__(self, expert: Expert) -> None:
        self.in_flight = 0
        self.queue: FairQueue[Slot] = FairQueue()
        self.pool = _pool(expert) if expert.replicas else None
        self._limit = expert.max_in_flight
        self._places = expert.max_in_flight * max(1, len(expert.endpoints))
        self._held_s: float | None = None
        """How long a request holds its place: a mean that decays."""

    def take(self, slot: Slot) -> bool:
        """Give `slot` a place if one is free."""
        if self.in_flight >= self._places:
            return False
        if self.pool is not None and slot.asked is not None:
            slot.sent = self.pool.pick(slot.asked, self.pool.in_flight < self._limit)
            if slot.sent is None:
                return False
        self.in_flight += 1
        return True

    def release(self, slot: Slot, held_s: float) -> None:
        self.in_flight -= 1
        if self.pool is not None and slot.sent is not None:
            self.pool.ended(slot.sent)
        self._held_s = held_s if self._held_s is None else DECAY * self._held_s + (1 - DECAY) * held_s
        if self.queue:
            self.serve()

    def serve(self) -> None:
        """Give free places to those who wait, in their turn."""
        passed: list[Slot] = []
        while self.queue and self.in_flight < self._places:
            slot = self.queue.pop()
            if slot.granted is None or slot.granted.done():
                continue  # its task is being cancelled
            if self.take(slot):
                slot.granted.set_result(None)
                continue
            passed.append(slot)
            if slot.asked is None or not (slot.asked.held or slot.asked.tried):
                break  # others could go nowhere either
        for slot in reversed(passed):
            self.queue.push(slot, slot.caller.key, slot.caller.priority, first=True)

    async def wait(self, slot: Slot) -> None:
        """Wait in the queue. Raises QueueFull."""
        expert, caller = slot.expert, slot.caller
        again = slot.asked is not None and bool(slot.asked.tried)
        if not again:
            self._admit(expert, caller)
        slot.granted = asyncio.get_running_loop().create_future()
        self.queue.push(slot, caller.key, caller.priority, first=again)
        if self.in_flight < self._places:
            # Those before it wait for one replica, and it may go to another.
            self.serve()
        deadline_s = expert.timeouts.first_byte_s
        try:
            async with asyncio.timeout(deadline_s):
                await slot.granted
        except TimeoutError:
            self._leave(slot)
            raise self._full(expert, caller, lambda: f"no place became free in {deadline_s:g} s") from None
        except BaseException:
            self._leave(slot)
            raise

    def _admit(self, expert: Expert, caller: Caller) -> None:
        """Whether the queue takes one more, perhaps in the place of another. Raises QueueFull."""
        wait_s = self._wait_s(expert, caller)
        if wait_s is not None and wait_s > expert.timeouts.first_byte_s:
            raise self._full(expert, caller, lambda: f"a place would be free in about {wait_s:.0f} s")
        if len(self.queue) < expert.max_queued:
            return
        found = self.queue.displaced(caller.key, caller.priority)
        if found is None or not expert.max_queued:
            raise self._full(expert, caller, self._crowd)
        displaced, key, priority = found
        self.queue.remove(displaced, key, priority)
        if displaced.granted is not None and not displaced.granted.done():
            displaced.granted.set_exception(self._full(displaced.expert, displaced.caller, self._crowd))

    def _leave(self, slot: Slot) -> None:
        """`slot` waits no more; a place that it was just given goes on."""
        granted = slot.granted
        if granted is not None and granted.done() and not granted.cancelled():
            if granted.exception() is None:
                self.in_flight -= 1
                if self.pool is not None and slot.sent is not None:
                    self.pool.ended(slot.sent)
                self.serve()
            return
        with contextlib.suppress(ValueError):
            self.queue.remove(slot, slot.caller.key, slot.caller.priority)

    def _wait_s(self, expert: Expert, caller: Caller) -> float | None:
        """Seconds until a request that comes now has a place: those before it in the queue, by the rate at
        which places have become free; None before any has."""
        if self._held_s is None:
            return None
        places = self._limit
        if self.pool is not None:
            places *= int(self.pool.usable(expert.model).sum()) or len(self.pool)
        return (self.queue.ahead(caller.key, caller.priority) + 1) * self._held_s / places

    def _crowd(self) -> str:
        return f"{self.in_flight} requests run and {len(self.queue)} wait"

    def _full(self, expert: Expert, caller: Caller, why: Callable[[], str]) -> QueueFull:
        error = QueueFull(expert.name, f"Expert {expert.name} is busy: {why()}.")
        error.retry_after_s = min(LONGEST_WAIT_S, max(1.0, self._wait_s(expert, caller) or 1.0))
        return error


def _pool(expert: Expert) -> "ReplicaPool":
    from experts.replicas.pool import ReplicaPool

    return ReplicaPool(expert)


def endpoint_key(expert: Expert) -> str:
    """Identifies a server: the endpoint, or for LiteLLM without one, the model."""
    return expert.endpoint or f"{expert.provider}:{expert.model}"
