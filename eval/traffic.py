"""Reads logged traffic: routing decisions with their feedback and shadow answers.

From the API (`/v1/decisions`), or from a file: JSON lines in the API's format, or Parquet with the same
columns.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from base.jsonl import JsonlError, parse_row, read_lines
from base.validation_messages import problems_of
from client import ApiError, Client, DecisionRecord, FeedbackRecord
from eval.errors import EvalError
from routers.conversation import routing_text
from routers.request import Turn

Placed = tuple[str, Any]
"""The location of a row (`file:line`), and the row."""


class TrafficError(EvalError):
    """Decisions cannot be read; the message gives location and reason, without prompt text."""


class Logged(DecisionRecord):
    """One logged decision, with access to the routed text of its request."""

    id: str = Field(min_length=1)

    @property
    def turns(self) -> tuple[Turn, ...] | None:
        """The request's turns; None if prompts are not stored."""
        if self.messages is None:
            return None
        return tuple(
            Turn(str(message.get("role", "user")), _text(message.get("content"))) for message in self.messages
        )

    @property
    def text(self) -> str | None:
        """The text that was routed on; None if prompts are not stored or contain no text."""
        turns = self.turns
        return (routing_text(turns).strip() or None) if turns else None


def ratings(feedback: Iterable[FeedbackRecord]) -> dict[str | None, float]:
    """What each key thought of one answer, 0..1: the mean of what it said."""
    said: dict[str | None, list[float]] = {}
    for each in feedback:
        if each.value is not None:
            said.setdefault(each.api_key, []).append(each.value)
    return {key: sum(values) / len(values) for key, values in said.items()}


def reward(feedback: Iterable[FeedbackRecord]) -> float | None:
    """The mean feedback score of one answer, 0..1, every key counting alike; None without feedback."""
    found = ratings(feedback)
    return sum(found.values()) / len(found) if found else None


def read_traffic(path: Path) -> tuple[Logged, ...]:
    """Read decisions from a file: `.parquet`, else JSON lines (or one page of the API as JSON).

    Raises TrafficError, which names the line.
    """
    try:
        rows = _parquet(path) if path.suffix == ".parquet" else _json(path)
    except OSError as error:
        raise TrafficError(f"{path}: cannot be read ({error})") from error
    except JsonlError as error:
        raise TrafficError(str(error)) from error
    return _logged(rows, str(path))


def fetch_traffic(
    base: str,
    *,
    key: str | None = None,
    limit: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> tuple[Logged, ...]:
    """Read decisions from a running service, newest first; of a period, with `since` or `until`, there may be
    none. Raises TrafficError."""
    period = {name: when.isoformat() for name, when in (("since", since), ("until", until)) if when}
    try:
        with Client(base, key=key) as api:
            found = api.decisions(limit, **period)
    except ApiError as error:
        raise TrafficError(str(error)) from error
    if period and not found:
        return ()
    return _logged(_placed((row.document() for row in found), base), base)


def _logged(rows: Iterable[Placed], source: str) -> tuple[Logged, ...]:
    found: dict[str, Logged] = {}
    for place, row in rows:
        try:
            logged = Logged.model_validate(_read_fields(row))
        except ValidationError as error:
            raise TrafficError(f"{place}: {problems_of(error, 'the line')[0]}") from error
        found.setdefault(logged.id, logged)
    if not found:
        raise TrafficError(f"{source}: holds no decisions")
    return tuple(found.values())


def _placed(rows: Iterable[Any], source: object) -> list[Placed]:
    return [(f"{source}:{number}", row) for number, row in enumerate(rows, start=1)]


READ = (
    *("id", "composition", "classification", "category", "ranking", "expert", "strategy", "reason"),
    *("spilled_from", "explored_from", "propensity", "status", "messages", "answer", "feedback", "shadows"),
    *("created_at", "latency_ms", "conversation", "usage", "cost", "compute", "repeated_share"),
    *("alternative", "expected_cost", "expected_compute", "alternative_cost", "alternative_compute"),
)
"""The fields that evaluation needs; other columns of a dump are not validated."""


def _read_fields(row: Any) -> Any:
    return {name: row[name] for name in READ if name in row} if isinstance(row, Mapping) else row


def _json(path: Path) -> list[Placed]:
    lines = read_lines(path)
    with suppress(ValueError):
        page = json.loads("\n".join(line for _, line in lines))
        if isinstance(page, Mapping) and isinstance(page.get("data"), list):
            return _placed(page["data"], path)
    return [(place, parse_row(line, place)) for place, line in lines]


NESTED = ("ranking", "feedback", "shadows", "messages")
"""Columns that a dump may contain as JSON text."""


def _parquet(path: Path) -> list[Placed]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows = _placed(pyarrow.parquet.read_table(path).to_pylist(), path)
    except pyarrow.ArrowException as error:
        raise TrafficError(f"{path}: is not a Parquet file") from error
    for place, row in rows:
        for name in NESTED:
            if isinstance(row.get(name), str):
                try:
                    row[name] = json.loads(row[name])
                except ValueError as error:
                    raise TrafficError(f"{place}: {name}: is not JSON") from error
    return rows


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part.get("text", "")) for part in parts if isinstance(part, Mapping))
