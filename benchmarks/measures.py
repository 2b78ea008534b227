"""The figures that benchmarks report, with their limits, as a table and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from base.json_documents import write_json
from base.terminal import console


@dataclass(frozen=True, slots=True)
class Measure:
    """One number with its bound, both in `unit`; `bound` None is for information."""

    name: str
    value: float
    unit: str
    bound: float | None = None

    @property
    def holds(self) -> bool:
        return self.bound is None or self.value <= self.bound


def conclude(measures: Sequence[Measure], kept: Path | None = None) -> int:
    """Print `measures`, write them to `kept` if given, and return the exit code: 1 if a limit fails."""
    print_measures(measures)
    if kept is not None:
        write_measures(measures, kept)
    return 0 if all(each.holds for each in measures) else 1


def print_measures(measures: Sequence[Measure]) -> None:
    """Print a table."""
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("measure")
    for heading in ("value", "bound"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for each in measures:
        bound = "" if each.bound is None else f"≤ {each.bound:g} {each.unit}"
        verdict = "" if each.bound is None else "ok" if each.holds else "TOO MUCH"
        table.add_row(each.name, f"{each.value:.3g} {each.unit}", bound, verdict)
    console(stderr=False).print(table)


def write_measures(measures: Sequence[Measure], path: Path) -> None:
    """Write a JSON list of objects with the fields of Measure and `holds`."""
    rows = [asdict(each) | {"holds": each.holds} for each in measures]
    write_json(rows, path)
