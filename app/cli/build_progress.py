"""How far a build is, on standard error: bars on a terminal, a line now and then in a file."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from app.cli.terminal import warn

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

LINE_S = 15.0
"""Between lines of one step in a file; its end is always told."""
TROUBLE_S = 10.0
"""Between lines about trouble that is being waited out."""


class BuildProgress:
    """One bar a step. Use as a context manager; steps may be told from any thread, one at a time."""

    def __init__(
        self, console: "Console | None" = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True)
        self._clock = clock
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._before: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self.troubles = 0
        """Failures so far after which a question was asked again."""
        self._told = clock()
        self._complained = -float("inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def told(self, step: str, done: int, total: int) -> None:
        """`done` of `total` calls of a step are there. A step may have several rounds: its bar grows."""
        if done == 0:
            self._before[step] = self._totals.get(step, 0)
        before = self._before.setdefault(step, 0)
        self._totals[step] = before + total
        if self._console.is_terminal:
            self._draw(step, before + done, before + total)
        elif done > 0 and (done == total or self._clock() - self._told >= LINE_S):
            self._told = self._clock()
            warn(f"{step}: {before + done} of {before + total}")

    def trouble(self, error: Exception) -> None:
        """The expert could not answer, and is asked again."""
        self.troubles += 1
        now = self._clock()
        if now - self._complained < TROUBLE_S:
            return
        self._complained = now
        line = f"{error} Trying again."
        if self._bars is not None:
            self._bars.console.print(f"coterie: {line}", markup=False, highlight=False, soft_wrap=True)
        else:
            warn(line)

    def _draw(self, step: str, done: int, total: int) -> None:
        if self._bars is None:
            self._bars = _bars(self._console)
            self._bars.start()
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=0)
        self._bars.update(self._tasks[step], completed=done, total=total)


def _bars(console: "Console") -> "Progress":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)
