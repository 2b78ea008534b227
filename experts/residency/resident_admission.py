"""Admission of experts that take turns in memory: a request waits until the server is loaded, and then for a
place."""

from types import TracebackType
from typing import TYPE_CHECKING

from experts.admission import NOBODY, Admission, Caller, Slot
from experts.expert import Expert
from experts.residency.live_residency import LiveResidency

if TYPE_CHECKING:
    from experts.replicas.pool import Asked


class ResidentAdmission(Admission):
    """The servers of `residency` are loaded while a place at them is taken or waited for."""

    def __init__(self, residency: LiveResidency) -> None:
        super().__init__()
        self._residency = residency

    def slot(self, expert: Expert, caller: Caller = NOBODY, asked: "Asked | None" = None) -> Slot:
        slot = _ResidentSlot(self._gate(expert), expert, caller, asked)
        slot.residency = self._residency
        return slot


class _ResidentSlot(Slot):
    residency: LiveResidency

    async def __aenter__(self) -> Slot:
        expert = self.expert
        await self.residency.enter(expert)
        try:
            return await super().__aenter__()
        except BaseException:
            self.residency.leave(expert)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        self.residency.leave(self.expert)
