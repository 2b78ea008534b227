"""How far a build is, and what trouble its expert gives."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from base.progress import ProgressBars
from base.terminal import warn

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

TROUBLE_S = 10.0
"""Between lines about transient errors."""


class BuildProgress(ProgressBars):
    """One bar a step. `troubles` counts the failures after which a question was asked again."""

    def __init__(
        self, shown_on: "Console | None" = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(shown_on, clock=clock)
        self._tasks: dict[str, TaskID] = {}
        self._before: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self.troubles = 0
        self._complained = -float("inf")

    def told(self, step: str, done: int, total: int) -> None:
        """`done` of `total` calls of a step are there. A step may have several rounds: its bar grows."""
        if done == 0:
            self._before[step] = self._totals.get(step, 0)
        before = self._before.setdefault(step, 0)
        self._totals[step] = before + total
        if step not in self._tasks:
            self._tasks[step] = self.add(step, total=0)
        self.tell(self._tasks[step], before + done, before + total)

    def trouble(self, error: Exception) -> None:
        """The expert could not answer, and is asked again."""
        self.troubles += 1
        now = self._clock()
        if now - self._complained >= TROUBLE_S:
            self._complained = now
            warn(f"{error} Trying again.")
