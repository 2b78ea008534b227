"""A streamed chat completion as the events of Anthropic's API, in the order that its clients count on.

https://platform.claude.com/docs/en/build-with-claude/streaming. Content blocks follow each other and never
overlap: calls whose pieces come mixed are told apart, and a call's arguments are sent once they are complete,
so that a client always reads a JSON object. While they come, empty deltas show that the stream lives.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.dialects.chat_fields import calls_of, read_object, reasoning_of, signed_blocks, text_of
from app.dialects.messages_answer import (
    AnswerOptions,
    ending,
    message_usage,
    new_message,
    tool_input,
    tool_use,
)

Document = dict[str, Any]
"""One event's data; its `type` is the event's name."""


@dataclass(slots=True)
class _Call:
    """A tool call that is still coming."""

    id: str = ""
    name: str = ""
    arguments: str = ""
    started: bool = False


class MessageStream:
    """One answer: `start`, then `add` for each chunk, then `finish`."""

    def __init__(self, options: AnswerOptions) -> None:
        self._options = options
        self._index = 0
        """Of the open content block, or of the next one."""
        self._open: str | None = None
        """The open block's type."""
        self._calls: dict[int, _Call] = {}
        """Calls that have not been sent whole, in their order."""
        self._called = False
        self._held = ""
        """Text that came in the middle of a call; it follows the calls."""
        self._choice: Document = {}
        """What the server has said of the end."""
        self._refusal = ""
        self.usage: Any = None
        """Chat's `usage`, once a chunk has it."""

    def start(self, chunk: Mapping[str, Any], routing: Mapping[str, Any]) -> Document:
        """The first event, for the first chunk."""
        return {"type": "message_start", "message": new_message(chunk, routing)}

    def add(self, chunk: Mapping[str, Any]) -> list[Document]:
        """The events of one chunk."""
        if isinstance(chunk.get("usage"), dict):
            self.usage = chunk["usage"]
        events: list[Document] = []
        for choice in chunk["choices"]:
            if choice.get("index") not in (0, None):
                continue
            delta = choice.get("delta")
            if isinstance(delta, dict):
                events += self._add_delta(delta)
            for name in ("finish_reason", "stop_reason"):
                if choice.get(name) not in (None, ""):
                    self._choice[name] = choice[name]
        return events

    def finish(self) -> list[Document]:
        """The last events."""
        events = self._close() if self._open != "tool_use" else []
        events += self._send_calls(last=True)
        if self._held:
            events += [*self._add_text(self._held), *self._close()]
        end = ending(self._choice, self._options, called=self._called, refusal=self._refusal)
        events.append({"type": "message_delta", "delta": end, "usage": message_usage(self.usage)})
        events.append({"type": "message_stop"})
        return events

    def _add_delta(self, delta: Document) -> list[Document]:
        text = text_of(delta.get("content"))
        if isinstance(refusal := delta.get("refusal"), str) and refusal:
            self._refusal += refusal
            text += refusal
        thinks = self._options.thinking and bool(reasoning_of(delta) or signed_blocks(delta))
        events: list[Document] = []
        if (text or thinks) and self._in_call:
            self._held += text
        else:
            events += self._add_thinking(delta) if thinks else []
            events += self._add_text(text) if text else []
        for call in calls_of(delta):
            self._add_call(call)
        if calls_of(delta):
            events += self._send_calls(last=False)
        return events

    @property
    def _in_call(self) -> bool:
        """Whether a call has begun that is no object yet: what else comes now would cut it in two."""
        return any(call.started and read_object(call.arguments) is None for call in self._calls.values())

    def _add_text(self, text: str) -> list[Document]:
        begun = self._begin("text", {"type": "text", "text": ""})
        return [*begun, self._delta({"type": "text_delta", "text": text})]

    def _add_thinking(self, delta: Document) -> list[Document]:
        events: list[Document] = []
        text, signature = "", ""
        for block in signed_blocks(delta):
            if block.get("type") == "redacted_thinking":
                data = {"type": "redacted_thinking", "data": str(block.get("data") or "")}
                events += [*self._begin("redacted_thinking", data), *self._close()]
            else:
                text += str(block.get("thinking") or "")
                signature += str(block.get("signature") or "")
        text = text or reasoning_of(delta)
        if text or signature:
            events += self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        if text and self._options.thinking_text:
            events.append(self._delta({"type": "thinking_delta", "thinking": text}))
        if signature:
            events += [self._delta({"type": "signature_delta", "signature": signature}), *self._close()]
        return events

    def _add_call(self, piece: Mapping[str, Any]) -> None:
        """Add a piece to its call, that of its index; the first one has its id and name."""
        call = self._calls.setdefault(piece["index"], _Call())
        call.id = call.id or str(piece.get("id") or "")
        function = piece.get("function")
        if isinstance(function, dict):
            call.name = call.name or str(function.get("name") or "")
            call.arguments += str(function.get("arguments") or "")

    def _send_calls(self, *, last: bool) -> list[Document]:
        """The events of the calls in their order, up to the first that is not complete. A call is complete
        when the next has begun and its arguments are an object; all are at the `last`."""
        events: list[Document] = []
        while self._calls:
            key, call = next(iter(self._calls.items()))
            if not call.started and (call.name or last):
                events += self._close()
                events += self._begin("tool_use", tool_use(call.id, call.name, {}))
                call.started = self._called = True
            complete = call.started and len(self._calls) > 1 and read_object(call.arguments) is not None
            if not last and not complete:
                if call.started and not events:
                    events.append(self._delta({"type": "input_json_delta", "partial_json": ""}))
                break
            read = json.dumps(tool_input(call.arguments), ensure_ascii=False)
            whole = call.arguments if read_object(call.arguments) is not None else read
            events.append(self._delta({"type": "input_json_delta", "partial_json": whole}))
            events += self._close()
            del self._calls[key]
        return events

    def _begin(self, kind: str, block: Document) -> list[Document]:
        """Open a block, unless one of its kind is open; whatever else is open ends."""
        if self._open == kind:
            return []
        events = self._send_calls(last=True) if self._open == "tool_use" else self._close()
        self._open = kind
        return [*events, {"type": "content_block_start", "index": self._index, "content_block": block}]

    def _close(self) -> list[Document]:
        if self._open is None:
            return []
        self._open = None
        self._index += 1
        return [{"type": "content_block_stop", "index": self._index - 1}]

    def _delta(self, delta: Document) -> Document:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}
