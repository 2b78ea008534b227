"""Admission control: bounded concurrency and a bounded FIFO queue per endpoint."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from experts.errors import ExpertBusy
from experts.expert import Expert


@dataclass(frozen=True, slots=True)
class Load:
    """Current load of an endpoint."""

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
    """One semaphore per endpoint. Belongs to one event loop."""

    def __init__(self) -> None:
        self._gates: dict[str, _Gate] = {}

    @contextlib.asynccontextmanager
    async def slot(self, expert: Expert) -> AsyncIterator[None]:
        """Hold one of the endpoint's `max_in_flight` slots. Raises `ExpertBusy` when `max_queued` requests
        wait already, or after waiting `timeouts.first_byte_s`."""
        gate = self._gate(expert)
        await self._enter(gate, expert)
        gate.in_flight += 1
        try:
            yield
        finally:
            gate.in_flight -= 1
            gate.slots.release()

    def load(self, expert: Expert) -> Load:
        """The load of the expert's endpoint by this process."""
        gate = self._gates.get(endpoint_key(expert))
        return Load(gate.in_flight, gate.queued) if gate else Load(0, 0)

    async def _enter(self, gate: _Gate, expert: Expert) -> None:
        if not gate.slots.locked():
            await gate.slots.acquire()  # does not wait
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
    """Identifies a server: the endpoint, or for LiteLLM without one, the model."""
    return expert.endpoint or f"{expert.provider}:{expert.model}"
