"""The order of events in a stream of Anthropic's messages, and that the blocks are whole.

https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anthropic.types import RawMessageStreamEvent

from tests.contracts.errors import anthropic_error_problems
from tests.contracts.sse import Event, is_object
from tests.contracts.validation import problems

_DELTAS = {
    "text_delta": "text",
    "citations_delta": "text",
    "input_json_delta": "tool_use",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
}
"""The type of block that a delta goes into."""


def messages_problems(events: Sequence[Event], *, failed: bool = False) -> list[str]:
    """A start, blocks one after the other, the reason to stop, a stop; `failed`: an error in their place."""
    if found := [each for event in events for each in _event_problems(event)]:
        return found
    said = [event.data for event in events if event.kind != "ping"]
    kinds = [each["type"] for each in said]
    if kinds[:1] != ["message_start"] or kinds.count("message_start") != 1:
        return [f"it begins with {kinds[:3]}"]
    ends = (["error"], 1) if failed else (["message_delta", "message_stop"], 2)
    if kinds[-ends[1] :] != ends[0] or any(kind in kinds[: -ends[1]] for kind in ("message_stop", "error")):
        return [f"it ends with {kinds[-3:]}"]
    found = _start_problems(said[0]["message"])
    reader = _Blocks()
    for each in said[1:]:
        reader.read(each)
    return found + reader.found + ([] if failed else reader.end_problems())


def _event_problems(event: Event) -> list[str]:
    if not isinstance(event.data, dict) or event.kind != event.data.get("type"):
        return [f"the event {event.kind} holds {event.data}"]
    if event.kind == "error":
        return anthropic_error_problems(event.data)
    return [] if event.kind == "ping" else problems(RawMessageStreamEvent, event.data)


def _start_problems(message: Mapping[str, Any]) -> list[str]:
    found = []
    if message["content"] or message["stop_reason"] is not None:
        found.append("message_start holds more than the beginning")
    if "routing" not in message:
        found.append("message_start has no routing")
    return found


@dataclass(slots=True)
class _Blocks:
    """The content blocks as they come."""

    found: list[str] = field(default_factory=list)
    count: int = 0
    open: str | None = None
    """The type of the block that is open."""
    input: str = ""
    types: list[str] = field(default_factory=list)
    reasons: list[str | None] = field(default_factory=list)

    def read(self, event: Mapping[str, Any]) -> None:
        kind = event["type"]
        if kind == "content_block_start":
            self._start(event)
        elif kind.startswith("content_block_"):
            if self.open is None or event["index"] != self.count - 1:
                self.found.append(f"{kind} of the block {event['index']}, which is not open")
            elif kind == "content_block_delta":
                self._delta(event["delta"])
            else:
                self._stop()
        elif self.open is not None and kind != "error":
            self.found.append(f"{kind} within a block")
        if kind == "message_delta":
            self.reasons.append(event["delta"]["stop_reason"])

    def end_problems(self) -> list[str]:
        if len(self.reasons) != 1 or (self.reasons[0] == "tool_use") != ("tool_use" in self.types):
            return [f"stop reasons {self.reasons} of {self.types}"]
        return []

    def _start(self, event: Mapping[str, Any]) -> None:
        block = event["content_block"]
        if self.open is not None:
            self.found.append("a block begins within another one")
        if event["index"] != self.count:
            self.found.append(f"block {self.count} is numbered {event['index']}")
        if block.get("text") or block.get("input") or block.get("thinking"):
            self.found.append("a block begins with content")
        self.count += 1
        self.open, self.input = block["type"], ""
        self.types.append(block["type"])

    def _delta(self, delta: Mapping[str, Any]) -> None:
        if _DELTAS.get(delta["type"]) != self.open:
            self.found.append(f"a {delta['type']} in a block of {self.open}")
        self.input += delta.get("partial_json") or ""

    def _stop(self) -> None:
        if self.open == "tool_use" and not is_object(self.input or "{}"):
            self.found.append(f"a tool's input is no JSON: {self.input!r}")
        self.open = None
