"""How the making ready of models and servers looks in a terminal. Only this module draws."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from experts.local.models import Report, Step
from experts.local.supervisor import State, Status


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


@contextmanager
def server_lines(console: Console | None = None) -> Iterator[Callable[[Status], None]]:
    """A line for each server while it starts; gives the `on_change` of `Supervisor`."""
    tasks: dict[str, TaskID] = {}
    with _progress(console) as progress:

        def on_change(status: Status) -> None:
            if status.name not in tasks:
                tasks[status.name] = progress.add_task("", subject=status.name, share="", total=None)
            over = status.state not in {State.STARTING, State.RESTARTING}
            progress.update(
                tasks[status.name],
                description=f"{status.state}{': ' if status.detail else ''}{status.detail}",
                total=1.0 if over else None,
                completed=1.0 if over else 0.0,
            )
            if over:
                progress.stop_task(tasks[status.name])

        yield on_change
