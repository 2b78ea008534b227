"""How far work is, on standard error: bars on a terminal, elsewhere a line now and then.

Knows nothing of what is being done.
"""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from base.terminal import console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Task, TaskID

LINE_S = 10.0
"""Between lines where there is no terminal."""


class ProgressBars:
    """A bar for each task: its name, how far it is, a note, the time left. Use as a context manager.

    Where there is no terminal, a line is written when a task gets another name, when it ends, and every
    `line_s` seconds about the latest task. Tasks may be told of from any thread, one thread at a time.
    """

    def __init__(
        self,
        shown_on: "Console | None" = None,
        *,
        line_s: float = LINE_S,
        clock: Callable[[], float] = time.monotonic,
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
        self._line_s = line_s
        self._clock = clock
        self._told = clock()
        self._latest: Task | None = None
        self._over = threading.Event()
        self._repeater = threading.Thread(target=self._repeat, daemon=True)

    def __enter__(self) -> Self:
        self._bars.start()
        if not self._console.is_terminal:
            self._repeater.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
        self._over.set()
        if self._repeater.ident is not None:
            self._repeater.join()

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
        now = self._task(task)
        before, named = now.completed, now.description
        note = now.fields["note"] if note is None else note
        self._bars.update(task, completed=done, total=total, description=name, note=note)
        if self._console.is_terminal:
            return
        self._latest = now
        finished = now.total is not None and now.completed >= now.total and now.completed > before
        waited = now.completed > 0 and self._clock() - self._told >= self._line_s
        if finished or waited or now.description != named:
            self._write(now)

    def remove(self, task: "TaskID") -> None:
        """Show this task no longer."""
        self._latest = None
        self._bars.remove_task(task)

    def _write(self, task: "Task") -> None:
        self._told = self._clock()
        of = "" if task.total is None else f" of {task.total:.0f}"
        line = f"coterie: {task.description}: {task.completed:.0f}{of} {task.fields['note']}".rstrip()
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _repeat(self) -> None:
        while not self._over.wait(self._line_s):
            latest = self._latest
            if latest is not None and self._clock() - self._told >= self._line_s:
                self._write(latest)

    def _task(self, task: "TaskID") -> "Task":
        return next(each for each in self._bars.tasks if each.id == task)
