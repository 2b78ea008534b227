"""What a run is doing and how long the rest takes."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from base.progress import ProgressBars
from prompts.mixture.call_budget import Progress as Steps

Begin = Callable[[str], AbstractContextManager[Steps]]
"""Names a job that begins; inside the block its steps are told, at the end it is done."""


@contextlib.contextmanager
def shown(total: int) -> Iterator[Begin]:
    """Shows the progress of `total` jobs, several at a time if need be."""
    with ProgressBars() as bars:
        everything = bars.add("tasks and seeds", total)

        @contextlib.contextmanager
        def begin(job: str) -> Iterator[Steps]:
            row = bars.add(job, 1)

            def step(stage: str, done: int, of: int) -> None:
                bars.tell(row, done, max(of, 1), name=f"{job}: {stage}")

            yield step
            bars.remove(row)
            bars.advance(everything, note=f"{job} done")

        yield begin
