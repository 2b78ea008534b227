"""How far work is, on standard error: bars on a terminal, elsewhere a line now and then.

Knows nothing of what is being done.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from base.terminal import console, warn

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Task, TaskID

LINE_S = 15.0
"""Between lines where there is no terminal. The end of a task is always told."""


class ProgressBars:
    """A bar for each task: its name, how far it is, a note, the time left. Use as a context manager.

    Tasks may be told of from any thread, one thread at a time.
    """

    def __init__(
        self, shown_on: "Console | None" = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = shown_on or console()
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(),
            console=self._console,
            # Steps may be minutes long: time left is estimated from all of them.
            speed_estimate_period=86_400,
            disable=not self._console.is_terminal,
        )
        self._clock = clock
        self._told = clock()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def add(self, name: str, total: int | None = None, note: str = "") -> "TaskID":
        """A new task of `total` parts, None when that is not known yet."""
        return self._bars.add_task(name, total=total, note=note)

    def advance(self, task: "TaskID", parts: int = 1, *, note: str | None = None) -> None:
        """`parts` more are done."""
        self.tell(task, round(self._task(task).completed) + parts, note=note)

    def tell(
        self,
        task: "TaskID",
        done: int | None = None,
        total: int | None = None,
        *,
        name: str | None = None,
        note: str | None = None,
    ) -> None:
        """`done` parts of `total` are done; None leaves what was said before."""
        old = self._task(task)
        before, note = old.completed, old.fields["note"] if note is None else note
        self._bars.update(task, completed=done, total=total, description=name, note=note)
        if self._console.is_terminal:
            return
        now = self._task(task)
        finished = now.total is not None and now.completed >= now.total and now.completed > before
        if finished or (now.completed > 0 and self._clock() - self._told >= LINE_S):
            self._told = self._clock()
            of = "" if now.total is None else f" of {now.total:.0f}"
            warn(f"{now.description}: {now.completed:.0f}{of} {now.fields['note']}".rstrip())

    def remove(self, task: "TaskID") -> None:
        """Show this task no longer."""
        self._bars.remove_task(task)

    def _task(self, task: "TaskID") -> "Task":
        return next(each for each in self._bars.tasks if each.id == task)
