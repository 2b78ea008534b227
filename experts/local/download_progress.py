"""Progress of fetching and converting models: bars on a terminal, lines in a file."""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from experts.local.model_folders import ModelProgress, Report
from experts.local.model_sources import SOURCES

LINE_S = 10.0
"""Interval of lines without a terminal."""


def model_progress(console: Console | None = None, line_s: float = LINE_S) -> AbstractContextManager[Report]:
    """A context that gives the `report` callback of `ensure_model`."""
    console = console or Console(stderr=True)
    return _bars(console) if console.is_terminal else _lines(console, line_s)


@contextmanager
def _bars(console: Console) -> Iterator[Report]:
    tasks: dict[str, TaskID] = {}
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.fields[subject]}"),
        TextColumn("{task.description}", style="dim"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[share]}"),
        TimeElapsedColumn(),
        console=console,
    ) as progress:

        def report(step: ModelProgress) -> None:
            if step.model not in tasks:
                tasks[step.model] = progress.add_task("", subject=_subject(step.model), share="", total=1.0)
            progress.update(
                tasks[step.model],
                description=step.name,
                completed=step.done,
                total=step.total,
                share=f"{step.done / step.total:4.0%}" if step.total else "",
            )

        yield report


@contextmanager
def _lines(console: Console, line_s: float) -> Iterator[Report]:
    """A line when a step begins, and every `line_s` seconds."""
    latest: ModelProgress | None = None
    told: set[str] = set()
    started, over = time.monotonic(), threading.Event()

    def write(step: ModelProgress) -> None:
        share = f" {step.done / step.total:.0%}" if step.total else ""
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        subject = step.model if step.model in told else _subject(step.model)
        told.add(step.model)
        console.print(f"  {minutes}:{seconds:02} {subject}: {step.name}{share}", highlight=False)

    def report(step: ModelProgress) -> None:
        nonlocal latest
        begins = latest is None or (latest.model, latest.name) != (step.model, step.name)
        latest = step
        if begins:
            write(step)

    def repeat() -> None:
        while not over.wait(line_s):
            if latest:
                write(latest)

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield report
    finally:
        over.set()
        thread.join()


def _subject(model: str) -> str:
    """The model with its sizes, where they are known."""
    if source := SOURCES.get(model):
        return f"{model} ({_size(source.size)} to fetch, {_size(source.converted_size)} on disk)"
    return model


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
