"""What a run is doing and how long the rest takes: bars on a terminal, lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from prompts.mixture.call_budget import Progress as Steps

LINE_S = 30.0
"""Between lines of one job where there is no terminal."""

Begin = Callable[[str], AbstractContextManager[Steps]]
"""Names a job that begins; inside the block its steps are told, at the end it is done."""


@contextlib.contextmanager
def shown(total: int) -> Iterator[Begin]:
    """Shows the progress of `total` jobs, several at a time if need be."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Jobs are minutes long and few: time left is estimated from all of them.
    with Progress(*columns, console=console, speed_estimate_period=86_400) as bars:
        everything = bars.add_task("tasks and seeds", total=total)

        @contextlib.contextmanager
        def begin(job: str) -> Iterator[Steps]:
            row = bars.add_task(job, total=1)

            def step(stage: str, done: int, of: int) -> None:
                bars.update(row, description=f"{job}: {stage}", completed=done, total=max(of, 1))

            yield step
            bars.remove_task(row)
            bars.advance(everything)

        yield begin


def _lines(total: int) -> Begin:
    started, finished = time.monotonic(), 0

    @contextlib.contextmanager
    def begin(job: str) -> Iterator[Steps]:
        nonlocal finished
        told = time.monotonic()

        def step(stage: str, done: int, of: int) -> None:
            nonlocal told
            if time.monotonic() - told > LINE_S:
                told = time.monotonic()
                _say(f"  {job}: {stage} {done}/{of}")

        yield step
        finished += 1
        left = (time.monotonic() - started) / finished * (total - finished) / 60
        _say(f"{finished}/{total} {job} done, about {left:.0f} min left")

    return begin


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - a command's own output
