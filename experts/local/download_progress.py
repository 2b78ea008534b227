"""Progress of fetching and converting models, in percent of each step."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from base.progress import LINE_S, ProgressBars
from experts.local.model_folders import ModelProgress, Report
from experts.local.model_sources import SOURCES

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID


@contextmanager
def model_progress(shown_on: "Console | None" = None, line_s: float = LINE_S) -> Iterator[Report]:
    """A context that gives the `report` callback of `ensure_model`. A model's sizes stand beside its first
    step."""
    tasks: dict[str, TaskID] = {}
    steps: dict[str, str] = {}
    with ProgressBars(shown_on, line_s=line_s) as bars:

        def report(step: ModelProgress) -> None:
            first = steps.setdefault(step.model, step.name) == step.name
            if step.model not in tasks:
                tasks[step.model] = bars.add(step.model, total=100)
            percent = round(100 * step.done / step.total) if step.total else 0
            note = _sizes(step.model) if first else ""
            bars.tell(tasks[step.model], percent, name=f"{step.model}: {step.name}", note=note)

        yield report


def _sizes(model: str) -> str:
    source = SOURCES.get(model)
    return f"({_size(source.size)} to fetch, {_size(source.converted_size)} on disk)" if source else ""


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
