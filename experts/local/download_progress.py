"""How the making ready of models looks in a terminal. Only this module draws."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from experts.local.model_folders import Report, Step


def _progress(console: Console | None) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.fields[subject]}"),
        TextColumn("{task.description}", style="dim"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[share]}"),
        TimeElapsedColumn(),
        console=console or Console(stderr=True),
    )


@contextmanager
def model_bars(console: Console | None = None) -> Iterator[Report]:
    """A bar for each model being made ready; gives the `report` of `ensure_model`."""
    tasks: dict[str, TaskID] = {}
    with _progress(console) as progress:

        def report(step: Step) -> None:
            if step.model not in tasks:
                tasks[step.model] = progress.add_task("", subject=step.model, share="", total=1.0)
            progress.update(
                tasks[step.model],
                description=step.name,
                completed=step.done,
                total=step.total,
                share=f"{step.done / step.total:4.0%}" if step.total else "",
            )

        yield report
