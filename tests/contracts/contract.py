"""What is asked in every dialect, and how an answer in any dialect is compared with others.

Knows no dialect: each has a module of its own with a `CONTRACT`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tests.contracts.sse import Event

ToolChoice = Literal["auto", "none", "required", "named"]

QUESTION = "Write a python function."
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
TOOL_NAME = "look_up"
TOOL_ABOUT = "Look something up."
TOOL_SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Case:
    """A request in no dialect. `mark` tells the experts what to do, `finish` is why the answer ends, as chat
    completions say it."""

    mark: str = ""
    usage: bool = False
    tools: ToolChoice | None = None
    n: int = 1
    logprobs: bool = False
    schema: bool = False
    max_tokens: int | None = None
    finish: str = "stop"

    @property
    def question(self) -> str:
        return f"{QUESTION} [[{self.mark}]]" if self.mark else QUESTION


CASES: Mapping[str, Case] = {
    "plain": Case(),
    "usage": Case(usage=True),
    "tools": Case(tools="auto", finish="tool_calls"),
    "tool choice none": Case(tools="none"),
    "tool choice required": Case(tools="required", finish="tool_calls"),
    "tool choice named": Case(tools="named", usage=True, finish="tool_calls"),
    "n": Case(n=3, usage=True),
    "logprobs": Case(logprobs=True),
    "json schema": Case(schema=True),
    "limit": Case(max_tokens=2, usage=True, finish="length"),
    "length": Case(mark="length", finish="length"),
    "empty": Case(mark="empty", usage=True),
    "unicode": Case(mark="unicode"),
}
FAILURES: Mapping[str, tuple[str, int]] = {"rejected": ("rejected", 400), "busy": ("busy", 429)}
"""Failures before the first byte: the mark, and the status that the client gets."""


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """An answer in no dialect. `calls`: name and arguments of each tool call; `usage`: prompt and completion
    tokens, None when the answer does not say."""

    texts: tuple[str, ...]
    calls: tuple[tuple[str, Any], ...]
    finish: str | None
    usage: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Contract:
    """One dialect. `body` of a case, None when the dialect cannot say it; `whole` and `stream` return what is
    wrong with an answer; `parse_whole` and `parse_stream` read one that is right."""

    path: str
    body: Callable[[Case], dict[str, Any] | None]
    whole: Callable[[Case, dict[str, Any]], list[str]]
    stream: Callable[[Case, Sequence[Event]], list[str]]
    failed_stream: Callable[[Sequence[Event]], list[str]]
    error: Callable[[Any], list[str]]
    parse_whole: Callable[[dict[str, Any]], ParsedAnswer]
    parse_stream: Callable[[Sequence[Event]], ParsedAnswer]
