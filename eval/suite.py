"""Suites of checkable prompts: a folder of JSONL files, or one file, read into typed items.

A line is `{"id", "prompt", "check", "max_tokens"}` and may name its `category`, which otherwise is the
name of its file. Knows nothing of how prompts are asked.
"""

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
    """A file of a suite cannot be read; the message says which file, which line and why."""


Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^\S(.*\S)?$")]


class CheckablePrompt(BaseModel):
    """One checkable prompt."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: Name
    category: Name
    prompt: Annotated[str, Field(min_length=1, pattern=r"\S")]
    check: Check
    max_tokens: Annotated[int, Field(ge=1, le=32_768)] = 256
    """How many tokens the reply may have."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Items in the order of their files and lines, their ids unique."""

    items: tuple[CheckablePrompt, ...]
    digest: str
    """SHA-256 of the files' bytes in their order."""

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories in the order in which they first occur."""
        return tuple(dict.fromkeys(item.category for item in self.items))

    def with_room(self, tokens: int) -> "Suite":
        """The same suite, each reply allowed `tokens` more: for experts that think before they answer."""
        roomier = (item.model_copy(update={"max_tokens": item.max_tokens + tokens}) for item in self.items)
        return replace(self, items=tuple(roomier))


def only(suite: Suite, categories: Sequence[str]) -> Suite:
    """The prompts of these categories; all of them when none is named.

    Raises:
        SuiteError: the suite has no such category.
    """
    unknown = [name for name in categories if name not in suite.categories]
    if unknown:
        raise SuiteError(f"no category {', '.join(unknown)}; there are {', '.join(suite.categories)}")
    kept = tuple(item for item in suite.items if not categories or item.category in categories)
    return replace(suite, items=kept)


def load_suite(path: Path = OWN) -> Suite:
    """Read `path`, a JSONL file or a folder of them (`*.jsonl`, by name).

    Raises:
        SuiteError: nothing to read, or a line that is no item, or an id that occurs twice.
    """
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
