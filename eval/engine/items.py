"""The items of a run: what each contestant said to each question and how it was marked, one line each.

Written as they finish, so that a stopped run keeps what it has; a later line of the same contestant and
question replaces an earlier one. Knows nothing of how they came about.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from base.files import replacing
from base.jsonl import JsonlError, read_lines
from eval.errors import EvalError


class ItemsError(EvalError):
    """The file of items cannot be read; the message says which line."""


class ItemTurn(BaseModel):
    """One turn. `latency_s` is what was waited when the answer was asked for, seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    answer: str
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float = 0.0
    cached: bool = False
    routing: dict[str, Any] | None = None
    """Coterie's decision: expert, category, reason and the rest."""


class RunItem(BaseModel):
    """One contestant on one question. `score` is in 0..1; None when there is none, and then `error` or
    `reason` say why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str
    category: str
    contestant: str
    score: float | None = None
    reason: str = ""
    values: dict[str, float] = Field(default_factory=dict)
    turns: tuple[ItemTurn, ...] = ()
    verdicts: tuple[dict[str, Any], ...] = ()
    judgments: tuple[dict[str, Any], ...] = ()
    unparsed: int = 0
    error: str | None = None
    """A code when the contestant, its baseline or a judge did not answer."""

    @property
    def experts(self) -> tuple[str, ...]:
        """Who answered the turns, where Coterie chose."""
        return tuple(str(turn.routing["expert"]) for turn in self.turns if turn.routing)


class ItemLog:
    """Appends items to one file; use as a context manager. A line cut off by a kill is dropped first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        file = self._path.open("a+b")
        file.seek(0)
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def add(self, item: RunItem) -> None:
        """Keep `item`: when this returns, it has left the process."""
        if self._file is None:
            raise ItemsError(f"{self._path}: is not open")
        self._file.write(item.model_dump_json(exclude_defaults=True).encode() + b"\n")
        self._file.flush()


def read_items(path: Path) -> tuple[RunItem, ...]:
    """The items of a run, the last line of each contestant and question, in the order of their first lines.

    Raises:
        ItemsError: no such file, or a line that is no item.
    """
    try:
        lines = read_lines(path, unfinished=True)
    except JsonlError as error:
        raise ItemsError(str(error)) from error
    found: dict[tuple[str, str], RunItem] = {}
    for place, line in lines:
        try:
            item = RunItem.model_validate_json(line)
        except ValidationError as error:
            raise ItemsError(f"{place}: is no item; delete that line and resume the run") from error
        found[item.contestant, item.question] = item
    return tuple(found.values())


def write_verdicts(items: Sequence[RunItem], path: Path) -> int:
    """Write the verdict table of `items` as parquet, which `coterie eval rate` reads; returns its rows."""
    import pyarrow
    import pyarrow.parquet

    rows: list[Mapping[str, Any]] = [row for item in items for row in item.verdicts]
    if not rows:
        path.unlink(missing_ok=True)
        return 0
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pyarrow.table({name: [row.get(name) for row in rows] for name in names})
    with replacing(path) as partial:
        pyarrow.parquet.write_table(table, partial)
    return len(rows)
