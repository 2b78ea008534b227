"""Columns of a Parquet or CSV file, with errors by column and row."""

import csv
import io
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from base.suggestions import close_names
from base.text_files import TextFileError, read_text
from eval.errors import EvalError
from eval.rating.resampling import Floats

LIKENESS = 0.8
"""difflib ratio above which an unknown column counts as misspelt."""


class VerdictError(EvalError):
    """An invalid verdict table; the message names file, column and row."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of equal length by name, None for empty cells; `rows`: row numbers in the file, from 1."""

    source: str
    cells: Mapping[str, Sequence[Any]]
    rows: Sequence[int]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.cells)

    def error(self, what: str) -> VerdictError:
        return VerdictError(f"{self.source}: {what}")

    def take(self, rows: Sequence[int]) -> "Columns":
        """These rows, counted from 0."""
        cells = {name: [values[row] for row in rows] for name, values in self.cells.items()}
        return Columns(self.source, cells, [self.rows[row] for row in rows])

    def unknown(self, known: AbstractSet[str], *, strict: bool) -> tuple[str, ...]:
        """The unknown columns. Raises VerdictError for a misspelt one, and for any with `strict`."""
        others = tuple(name for name in self.names if name not in known)
        for name in others:
            meant = close_names(name, sorted(known - set(self.names)), most=1, likeness=LIKENESS)
            if meant:
                raise self.error(f"unknown column {name}: is {meant[0]} meant? Rename it, or leave it out")
        if others and strict:
            raise self.error(f"unknown columns {', '.join(others)}: known are {', '.join(sorted(known))}")
        return others

    def texts(self, name: str) -> list[str]:
        """A column as stripped text. Raises VerdictError for an empty cell."""
        values = self.optional_texts(name)
        for row, value in zip(self.rows, values, strict=True):
            if value is None:
                raise self.error(f"column {name}, row {row}: is empty")
        return [value for value in values if value is not None]

    def optional_texts(self, name: str) -> list[str | None]:
        """As `texts`, None for empty cells and a missing column."""
        if name not in self.cells:
            return [None] * len(self)
        return [_text(value) for value in self.cells[name]]

    def numbers(self, name: str, *, empty: bool = False) -> Floats:
        """A column of finite numbers; with `empty`, NaN for empty cells. Raises VerdictError."""
        values = self.cells[name]
        try:
            found: Floats = np.asarray([np.nan if value is None else value for value in values], np.float64)
        except (TypeError, ValueError):
            found = np.asarray(
                [self._number(name, row, value) for row, value in zip(self.rows, values, strict=True)]
            )
        if not empty:
            self.refuse(name, np.isnan(found), "is empty")
        self.refuse(name, np.isinf(found), "is infinite")
        return found

    def refuse(self, name: str, wrong: npt.NDArray[np.bool_], why: str) -> None:
        """Raises VerdictError for the first row where `wrong` is true."""
        if wrong.any():
            row = int(wrong.argmax())
            others = int(wrong.sum()) - 1
            also = f" ({others} more rows like it)" if others else ""
            raise self.error(
                f"column {name}, row {self.rows[row]}: {_shown(self.cells[name][row])} {why}{also}"
            )

    def repeats(self, verdict: Sequence[str], key: Sequence[str], *, strict: bool) -> tuple[int, int]:
        """The number of rows that repeat an earlier `key`, and of those that differ in nothing but `verdict`;
        with `strict` the latter raise VerdictError."""
        key = [name for name in key if name in self.cells]
        further = [name for name in self.names if name not in {*key, *verdict}]
        seen: dict[tuple[str, ...], list[int]] = {}
        for row, values in enumerate(zip(*(self.cells[name] for name in key), strict=True)):
            seen.setdefault(tuple(map(str, values)), []).append(row)
        repeated = alike = 0
        for found in seen.values():
            repeated += len(found) - 1
            apart: dict[tuple[str, ...], int] = {}
            for row in found if len(found) > 1 else ():
                identity = tuple(str(self.cells[name][row]) for name in further)
                if identity in apart and not strict:
                    alike += 1
                elif identity in apart:
                    raise self.error(
                        f"row {self.rows[row]} repeats {', '.join(key)} of row {self.rows[apart[identity]]}: "
                        "remove one, add up their counts, or tell them apart by a column such as `game`"
                    )
                apart[identity] = row
        return repeated, alike

    def _number(self, name: str, row: int, value: Any) -> float:
        try:
            return float("nan") if value is None else float(value)
        except (TypeError, ValueError) as error:
            raise self.error(f"column {name}, row {row}: {_shown(value)} is no number") from error


def read_columns(path: Path) -> Columns:
    """The columns of a Parquet file, or of a CSV file in UTF-8 with a header; names are stripped and
    lower-cased. Raises VerdictError."""
    try:
        with path.open("rb") as file:
            parquet = file.read(4) == b"PAR1"
        cells = _parquet(path) if parquet else _csv(path)
    except FileNotFoundError as error:
        raise VerdictError(f"{path} is missing") from error
    except TextFileError as error:
        raise VerdictError(f"{error}: neither Parquet nor CSV") from error
    except (OSError, csv.Error) as error:
        raise VerdictError(f"{path} cannot be read: {error}") from error
    plain: dict[str, Sequence[Any]] = {}
    for name, values in cells:
        short = name.strip().lower()
        if short in plain:
            raise VerdictError(f"{path}: column {short} is there twice")
        plain[short] = values
    length = len(cells[0][1]) if cells else 0
    return Columns(str(path), plain, range(1, length + 1))


def _parquet(path: Path) -> list[tuple[str, Sequence[Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise VerdictError(f"{path} is not a whole Parquet file: {error}") from error
    return [(name, table.column(place).to_pylist()) for place, name in enumerate(table.column_names)]


def _csv(path: Path) -> list[tuple[str, Sequence[Any]]]:
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    header = next(reader, [])
    rows: list[list[str | None]] = []
    for values in reader:
        if not values:
            continue
        if len(values) != len(header):
            raise VerdictError(
                f"{path}: row {len(rows) + 1} has {len(values)} cells, the header {len(header)} "
                f"(line {reader.line_num})"
            )
        rows.append([value if value.strip() else None for value in values])
    return [(name, [row[place] for row in rows]) for place, name in enumerate(header)]


def _text(value: Any) -> str | None:
    text = "" if value is None or value != value else str(value).strip()
    return text or None


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
