"""Admission: how many requests an endpoint works on at once, and how many may wait for it.

Experts that share an endpoint share its bounds. Waiting is first come, first served.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from experts.errors import ExpertBusy
from experts.expert import Expert


@dataclass(frozen=True, slots=True)
class Load:
    """A moment's load of one endpoint."""

    in_flight: int
    queued: int


@dataclass(slots=True)
class _Gate:
    limit: int
    slots: asyncio.Semaphore = field(init=False)
    in_flight: int = 0
    queued: int = 0

    def __post_init__(self) -> None:
        self.slots = asyncio.Semaphore(self.limit)


class Admission:
    """One gate an endpoint, made when it is first used. Belongs to one event loop."""

    def __init__(self) -> None:
        self._gates: dict[str, _Gate] = {}

    @contextlib.asynccontextmanager
    async def slot(self, expert: Expert) -> AsyncIterator[None]:
        """Hold one of the endpoint's `max_in_flight` slots for the length of the block.

        Raises `ExpertBusy` at once when `max_queued` requests wait already, and after
        `timeouts.first_byte_s` of waiting.
        """
        gate = self._gate(expert)
        await self._enter(gate, expert)
        gate.in_flight += 1
        try:
            yield
        finally:
            gate.in_flight -= 1
            gate.slots.release()

    def load(self, expert: Expert) -> Load:
        """How busy the expert's endpoint is with requests of this process."""
        gate = self._gates.get(endpoint_key(expert))
        return Load(gate.in_flight, gate.queued) if gate else Load(0, 0)

    async def _enter(self, gate: _Gate, expert: Expert) -> None:
        if not gate.slots.locked():
            await gate.slots.acquire()  # does not wait, so nobody can come between
            return
        if gate.queued >= expert.max_queued:
            raise ExpertBusy(
                expert.name,
                f"Expert {expert.name} is busy: {gate.in_flight} requests run and {gate.queued} wait.",
            )
        gate.queued += 1
        try:
            async with asyncio.timeout(expert.timeouts.first_byte_s):
                await gate.slots.acquire()
        except TimeoutError:
            raise ExpertBusy(
                expert.name,
                f"Expert {expert.name} is busy: no place became free in {expert.timeouts.first_byte_s:g} s.",
            ) from None
        finally:
            gate.queued -= 1

    def _gate(self, expert: Expert) -> _Gate:
        key = endpoint_key(expert)
        if key not in self._gates:
            self._gates[key] = _Gate(expert.max_in_flight)
        return self._gates[key]


def endpoint_key(expert: Expert) -> str:
    """What experts of one server have in common: the endpoint, or for LiteLLM without one, the model."""
    return expert.endpoint or f"{expert.provider}:{expert.model}"
