"""Suites of checkable prompts in JSONL: `{"id", "prompt", "check", "max_tokens", "category"}` a line; the
category defaults to the file's name."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from base.jsonl import JsonlError, read_rows
from base.validation_messages import problems_of
from eval.checks import Check
from eval.errors import EvalError

OWN = Path(__file__).resolve().parents[1] / "prompts" / "checkable"
"""The folder of the project's own checkable prompts."""


class SuiteError(EvalError):
    """A file of a suite is invalid; the message has file, line and reason."""


Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^\S(.*\S)?$")]


class CheckablePrompt(BaseModel):
    """One checkable prompt."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: Name
    category: Name
    prompt: Annotated[str, Field(min_length=1, pattern=r"\S")]
    check: Check
    max_tokens: Annotated[int, Field(ge=1, le=32_768)] = 256
    """Of the reply."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Items in file and line order, with unique ids."""

    items: tuple[CheckablePrompt, ...]
    digest: str
    """SHA-256 of the files' contents."""

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories in order of first occurrence."""
        return tuple(dict.fromkeys(item.category for item in self.items))

    def with_room(self, tokens: int) -> "Suite":
        """The suite with `tokens` added to each `max_tokens`, for reasoning models."""
        roomier = (item.model_copy(update={"max_tokens": item.max_tokens + tokens}) for item in self.items)
        return replace(self, items=tuple(roomier))


def only(suite: Suite, categories: Sequence[str]) -> Suite:
    """The prompts of these categories, or all if none is given. Raises SuiteError (unknown category)."""
    unknown = [name for name in categories if name not in suite.categories]
    if unknown:
        raise SuiteError(f"no category {', '.join(unknown)}; there are {', '.join(suite.categories)}")
    kept = tuple(item for item in suite.items if not categories or item.category in categories)
    return replace(suite, items=kept)


def load_suite(path: Path = OWN) -> Suite:
    """Read a JSONL file or a folder of them (sorted by name). Raises SuiteError."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise SuiteError(f"{path}: the folder holds no .jsonl file")
    items: list[CheckablePrompt] = []
    places: dict[str, str] = {}
    digest = hashlib.sha256()
    for file in files:
        try:
            rows = read_rows(file)
        except JsonlError as error:
            raise SuiteError(str(error)) from error
        digest.update(file.read_bytes())
        for place, row in rows:
            item = _item(row, file.stem, place)
            if item.id in places:
                raise SuiteError(f"{place}: id: {item.id!r} was used before, at {places[item.id]}")
            places[item.id] = place
            items.append(item)
    if not items:
        raise SuiteError(f"{path}: holds no items")
    return Suite(tuple(items), digest.hexdigest())


def _item(row: dict[str, Any], category: str, place: str) -> CheckablePrompt:
    try:
        return CheckablePrompt.model_validate({"category": category, **row})
    except ValidationError as error:
        raise SuiteError(f"{place}: {'; '.join(problems_of(error, 'item'))}") from error
