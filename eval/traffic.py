"""Live traffic as evaluation reads it: decisions with their feedback and shadow answers.

From the API (`/v1/decisions`), or from a file: JSON lines, one decision a line as the API shows it, or
Parquet with the same columns. Knows nothing of what is made of them.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from eval.api import Api, ApiError
from routers.conversation import routing_text
from routers.request import Turn


class TrafficError(Exception):
    """Decisions cannot be read; the message says where and why, without their text."""


class _Open(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Feedback(_Open):
    """What somebody thought of an answer."""

    rating: int | None = Field(default=None, ge=-1, le=1)
    score: float | None = Field(default=None, ge=0, le=1)

    @property
    def value(self) -> float | None:
        """0..1; a thumb down is 0, up is 1."""
        if self.score is not None:
            return self.score
        return None if self.rating is None else (self.rating + 1) / 2


class Choice(_Open):
    """One expert of a ranking."""

    expert: str
    utility: float
    correction: float = 0.0
    active_params_b: float = 0.0
    price: float = 0.0
    excluded: str | None = None

    @property
    def expected(self) -> float:
        """The expected score, 0..1."""
        return min(1.0, max(0.0, self.utility + self.correction))


class ShadowAnswer(_Open):
    """Another expert's answer to the same request."""

    expert: str
    status: str
    feedback: tuple[Feedback, ...] = ()


class Logged(_Open):
    """One decision as it was kept."""

    id: str
    composition: str = ""
    classification: str = ""
    category: str | None = None
    ranking: tuple[Choice, ...] = ()
    expert: str
    strategy: str = "single"
    reason: str = ""
    spilled_from: str | None = None
    explored_from: str | None = None
    propensity: float | None = Field(default=None, gt=0, le=1)
    status: str = "ok"
    messages: tuple[dict[str, Any], ...] | None = None
    feedback: tuple[Feedback, ...] = ()
    shadows: tuple[ShadowAnswer, ...] = ()

    @field_validator("ranking", "feedback", "shadows", mode="before")
    @classmethod
    def _none_is_empty(cls, value: Any) -> Any:
        return () if value is None else value

    @property
    def chosen(self) -> str:
        """The expert that the router chose, before anything was explored."""
        return self.explored_from or self.expert

    @property
    def turns(self) -> tuple[Turn, ...] | None:
        """The request's turns, None when prompts are not kept."""
        if self.messages is None:
            return None
        return tuple(
            Turn(str(message.get("role", "user")), _text(message.get("content"))) for message in self.messages
        )

    @property
    def prompt(self) -> str | None:
        """What the router read of the request, None when prompts are not kept or hold no text."""
        turns = self.turns
        return (routing_text(turns).strip() or None) if turns else None


def reward(feedback: Iterable[Feedback]) -> float | None:
    """The mean of what people thought, 0..1; None when nobody said anything."""
    values = [value for value in (each.value for each in feedback) if value is not None]
    return sum(values) / len(values) if values else None


def read_traffic(path: Path) -> tuple[Logged, ...]:
    """Decisions of a file: `.parquet`, else JSON lines (or one page of the API as JSON).

    Raises TrafficError with the line.
    """
    try:
        rows = _parquet(path) if path.suffix == ".parquet" else _lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise TrafficError(f"{path}: cannot be read ({error})") from error
    return _logged(rows, str(path))


def fetch_traffic(base: str, *, key: str | None = None, limit: int | None = None) -> tuple[Logged, ...]:
    """Decisions of a running service, newest first. Raises TrafficError."""

    async def fetch() -> Sequence[dict[str, Any]]:
        async with Api(base, key=key) as api:
            return await api.decisions(limit)

    try:
        return _logged([(row, number) for number, row in enumerate(asyncio.run(fetch()), start=1)], base)
    except ApiError as error:
        raise TrafficError(str(error)) from error


def _logged(rows: Iterable[tuple[Any, int]], source: str) -> tuple[Logged, ...]:
    found: dict[str, Logged] = {}
    for row, number in rows:
        try:
            logged = Logged.model_validate(row)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "the line"
            raise TrafficError(f"{source}:{number}: {field}: {first['msg']}") from error
        found.setdefault(logged.id, logged)
    if not found:
        raise TrafficError(f"{source}: holds no decisions")
    return tuple(found.values())


def _lines(path: Path) -> Iterable[tuple[Any, int]]:
    text = path.read_text(encoding="utf-8-sig")
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    if isinstance(whole, Mapping) and isinstance(whole.get("data"), list):
        return [(row, number) for number, row in enumerate(whole["data"], start=1)]
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append((json.loads(line), number))
        except (ValueError, RecursionError) as error:
            raise TrafficError(f"{path}:{number}: is not JSON") from error
    return rows


NESTED = ("ranking", "feedback", "shadows", "messages")
"""Columns that a dump may hold as JSON text."""


def _parquet(path: Path) -> Iterable[tuple[Any, int]]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise TrafficError(f"{path}: is not a Parquet file") from error
    for number, row in enumerate(rows, start=1):
        for name in NESTED:
            if isinstance(row.get(name), str):
                try:
                    row[name] = json.loads(row[name])
                except ValueError as error:
                    raise TrafficError(f"{path}:{number}: {name}: is not JSON") from error
    return [(row, number) for number, row in enumerate(rows, start=1)]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part.get("text", "")) for part in parts if isinstance(part, Mapping))
