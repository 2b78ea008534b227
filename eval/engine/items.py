"""The items of a run as JSON lines: answers and score of one contestant on one question.

Appended as they finish, so that an interrupted run loses none; a later line of the same contestant and
question replaces an earlier one.
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
    """The file of items is invalid; the message names the line."""


class ItemTurn(BaseModel):
    """One turn. `latency_s`: seconds until the answer was complete, when it was first asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    answer: str
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float = 0.0
    cached: bool = False
    routing: dict[str, Any] | None = None
    """Coterie's routing decision: expert, category, reason and more."""


class RunItem(BaseModel):
    """One contestant on one question. `score`: 0..1, or None, explained by `error` or `reason`."""

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
    """Error code if the contestant, its baseline or a judge did not answer."""

    @property
    def experts(self) -> tuple[str, ...]:
        """The experts that answered the turns, if Coterie routed them."""
        return tuple(str(turn.routing["expert"]) for turn in self.turns if turn.routing)


class ItemLog:
    """Appends items to one file; a context manager. Opening drops an incomplete last line."""

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
        """Append `item` and flush it to the operating system."""
        if self._file is None:
            raise ItemsError(f"{self._path}: is not open")
        self._file.write(item.model_dump_json(exclude_defaults=True).encode() + b"\n")
        self._file.flush()


def read_items(path: Path) -> tuple[RunItem, ...]:
    """The last line of each contestant and question, in order of first occurrence.

    Raises:
        ItemsError: the file is missing or a line is invalid.
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
    """Write the verdict table of `items` as Parquet for `coterie eval rate`; returns the number of rows."""
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
