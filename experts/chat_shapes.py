"""Messages and deltas as servers write them, made into what OpenAI's API has.

Takes one choice at a time, and knows nothing of envelopes, events or experts. Their tool calls are read by
`experts.tool_calls`.
"""

from collections.abc import Mapping
from typing import Any

from experts.tool_calls import StreamedCalls, whole_calls

Document = dict[str, Any]

TEXTS = ("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call", "audio")
"""Fields of a message or delta that say something."""
_FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
_TRUNCATED = ("length", "content_filter")
"""Reasons of answers that ended before their end."""
_FINISH_REASON_ALIASES = {
    "max_tokens": "length",
    "max_output_tokens": "length",
    "max_length": "length",
    "model_length": "length",
    "tool_use": "tool_calls",
    "tool_call": "tool_calls",
    "refusal": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "blocklist": "content_filter",
    "prohibited_content": "content_filter",
}
"""Other servers' words for OpenAI's finish reasons; what is none of both (`eos`, `end_turn`, …) is `stop`."""


def finish_reason(reason: Any) -> str | None:
    """OpenAI's finish reason; None for an empty one."""
    said = reason.strip().lower() if isinstance(reason, str) else ""
    if not said:
        return None
    said = _FINISH_REASON_ALIASES.get(said, said)
    return said if said in _FINISH_REASONS else "stop"


def whole_message(message: Mapping[str, Any], finish: str | None) -> tuple[Document, str]:
    """A message, and why it ends."""
    calls = whole_calls(_calls_of(message), cut=finish in _TRUNCATED)
    said = {name: value for name, value in message.items() if name not in ("tool_calls", "function_call")}
    out = {**said, "role": "assistant", "content": _text(message.get("content"))}
    if calls:
        out["tool_calls"] = calls
    return out, _finish_with(finish or "stop", bool(calls))


class StreamedChoice:
    """The deltas of one choice of a stream, in order. `finish`: why it has ended, None while it goes on."""

    def __init__(self) -> None:
        self.finish: str | None = None
        self._begun = False
        self._calls = StreamedCalls()

    @property
    def is_open(self) -> bool:
        """It has begun, goes on, and calls nothing."""
        return self._begun and self.finish is None and not self._calls

    def read(self, delta: Mapping[str, Any], finish: str | None) -> tuple[Document, str | None] | None:
        """The delta and the finish reason as OpenAI has them; None for what says nothing after the end."""
        if self.finish is not None and not any(delta.get(name) for name in TEXTS):
            return None
        out = {
            name: value
            for name, value in delta.items()
            if name not in ("role", "tool_calls", "function_call")
        }
        if "content" in out:
            out["content"] = _text(out["content"])
        if not self._begun:
            out = {"role": "assistant", **out}
            self._begun = True
        calls = self._calls.read(_calls_of(delta))
        if finish is not None:
            calls += [] if finish in _TRUNCATED else self._calls.end()
            finish = self.finish = _finish_with(finish, bool(self._calls))
        if calls:
            out["tool_calls"] = calls
        return out, finish


def _calls_of(message: Mapping[str, Any]) -> Any:
    """Tool calls, or the one call of a function that they have replaced."""
    legacy = message.get("function_call")
    if message.get("tool_calls") or not isinstance(legacy, Mapping):
        return message.get("tool_calls")
    return [{"index": 0, "function": legacy}]


def _finish_with(finish: str, calls: bool) -> str:
    """Some servers end with `stop` after a call, or with `tool_calls` without one."""
    if calls:
        return "tool_calls" if finish in ("stop", "function_call") else finish
    return "stop" if finish in ("tool_calls", "function_call") else finish


def _text(content: Any) -> str | None:
    """Content as text: some servers send parts."""
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        return "".join(text for text in texts if isinstance(text, str))
    return str(content)
