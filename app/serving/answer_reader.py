"""Reads an answer as it passes: the text, tool calls and provider state that its conversation is known by.

Understands completions and their chunks, and the native answers of servers that speak Responses or Messages.
Reads leniently, since others check.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.serving.message_chain import ConversationTurn, assistant_turn
from experts.expert_replies import StreamEvent
from experts.tool_calls import JoinedCalls

CHOICES, CALLS, ITEMS = 16, 128, 1_024
"""Bounds: choices, tool calls in one of them, items of a native answer."""
CHARACTERS = 2_000_000
"""Text read of one answer, and of the tool calls in one of its choices."""

Message = dict[str, Any]

_TEXT = frozenset({"role", "content"})


class AnswerReader:
    """`whole` once, or `events` in order; `answers` is what was said so far."""

    def __init__(self) -> None:
        self._messages: dict[int, Message] = {}
        self._calls: dict[int, JoinedCalls] = {}
        """Tool calls of streamed messages."""
        self._items: dict[int, dict[str, Any]] = {}
        """Content blocks of a native answer, by index."""
        self._characters = 0

    @property
    def answers(self) -> tuple[ConversationTurn, ...]:
        """One for each choice that says something."""
        found = (assistant_turn(message) for _, message in sorted(self._read().items()))
        return tuple(each for each in found if each.text or each.calls or each.state)

    @property
    def text(self) -> str | None:
        """What the first choice says, as every database stores it; None for an answer without text."""
        said = next((each.text for each in self.answers), "").replace("\0", "")
        return said.encode("utf-8", "replace").decode() or None

    def whole(self, document: Mapping[str, Any]) -> None:
        """A whole answer."""
        choices = document.get("choices")
        if isinstance(choices, list):
            for number, choice in enumerate(choices[:CHOICES]):
                message = choice.get("message") if isinstance(choice, Mapping) else None
                if isinstance(message, Mapping):
                    self._messages[number] = dict(message)
            return
        for name in ("output", "content"):
            items = document.get(name)
            for number, item in enumerate(items[:ITEMS] if isinstance(items, list) else ()):
                if isinstance(item, Mapping):
                    self._items[number] = dict(item)

    def events(self, events: Sequence[StreamEvent]) -> bool:
        """What came of a stream. True when the client may go on with what it has now: a choice or a tool call
        ended."""
        ended = False
        for event in events:
            if event.chunk is not None and self._event(event.chunk):
                ended = True
        return ended

    def _event(self, chunk: Mapping[str, Any]) -> bool:
        choices = chunk.get("choices")
        if isinstance(choices, list):
            ended = False
            for choice in choices:
                if isinstance(choice, dict) and self._choice(choice):
                    ended = True
            return ended
        read = _NATIVE.get(str(chunk.get("type")))
        return read is not None and read(self, chunk)

    def _choice(self, choice: Mapping[str, Any]) -> bool:
        index, delta = choice.get("index"), choice.get("delta")
        number = index if isinstance(index, int) else 0
        if isinstance(delta, dict) and (number in self._messages or len(self._messages) < CHOICES):
            message = self._messages.setdefault(number, {})
            if isinstance(content := delta.get("content"), str):
                self._append(message, "content_pieces", content)
            if delta.keys() - _TEXT:
                self._delta(message, delta)
            if calls := delta.get("tool_calls"):
                self._calls.setdefault(number, JoinedCalls(CALLS, CHARACTERS)).add(calls)
        reason = choice.get("finish_reason")
        return isinstance(reason, str) and reason != ""

    def _delta(self, message: Message, delta: Mapping[str, Any]) -> None:
        """What there is beside text."""
        if isinstance(refusal := delta.get("refusal"), str):
            self._append(message, "refusal_pieces", refusal)
        for name in ("thinking_blocks", "reasoning_items", "reasoning_details"):
            items = delta.get(name)
            if isinstance(items, list) and len(message.setdefault(name, [])) < ITEMS:
                message[name] += items

    def _append(self, into: dict[str, Any], name: str, text: str) -> None:
        self._characters += len(text)
        if self._characters <= CHARACTERS:
            into.setdefault(name, []).append(text)

    def _read(self) -> dict[int, Message]:
        messages = {number: _joined(message) for number, message in self._messages.items()}
        for number, calls in self._calls.items():
            messages[number]["tool_calls"] = calls.whole()
        if self._items:
            messages[0] = _of_items([_joined(item) for _, item in sorted(self._items.items())])
        return messages

    def _output_item(self, event: Mapping[str, Any]) -> bool:
        """Responses: a whole item."""
        index, item = event.get("output_index"), event.get("item")
        if isinstance(index, int) and isinstance(item, Mapping) and len(self._items) < ITEMS:
            self._items[index] = dict(item)
        return isinstance(item, Mapping) and str(item.get("type", "")).endswith("_call")

    def _block_start(self, event: Mapping[str, Any]) -> bool:
        """Messages: a content block begins."""
        index, block = event.get("index"), event.get("content_block")
        if isinstance(index, int) and isinstance(block, Mapping) and len(self._items) < ITEMS:
            self._items[index] = {**block}
        return False

    def _block_delta(self, event: Mapping[str, Any]) -> bool:
        index, delta = event.get("index"), event.get("delta")
        block = self._items.get(index) if isinstance(index, int) else None
        if block is None or not isinstance(delta, Mapping):
            return False
        for name in ("text", "partial_json", "signature"):
            if isinstance(delta.get(name), str):
                self._append(block, f"{name}_pieces", delta[name])
        return False

    def _block_stop(self, event: Mapping[str, Any]) -> bool:
        index = event.get("index")
        block = self._items.get(index) if isinstance(index, int) else None
        return block is not None and block.get("type") == "tool_use"


_NATIVE: Mapping[str, Callable[[AnswerReader, Mapping[str, Any]], bool]] = {
    "response.output_item.done": AnswerReader._output_item,
    "content_block_start": AnswerReader._block_start,
    "content_block_delta": AnswerReader._block_delta,
    "content_block_stop": AnswerReader._block_stop,
}


def _joined(read: Mapping[str, Any]) -> dict[str, Any]:
    """What was gathered in pieces, joined."""
    out: dict[str, Any] = {}
    for name, value in read.items():
        if name.endswith("_pieces"):
            plain = name.removesuffix("_pieces")
            before = read.get(plain)
            out[plain] = (before if isinstance(before, str) else "") + "".join(value)
        else:
            out.setdefault(name, value)
    return out


def _of_items(items: Sequence[Mapping[str, Any]]) -> Message:
    """A native answer's items or blocks as one assistant message."""
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    state: list[Mapping[str, Any]] = []
    for item in items:
        match item.get("type"):
            case "text" if isinstance(item.get("text"), str):
                texts.append(item["text"])
            case "message":
                parts = item.get("content")
                for part in parts if isinstance(parts, list) else ():
                    said = part.get("text", part.get("refusal")) if isinstance(part, Mapping) else None
                    texts += [said] if isinstance(said, str) else []
            case "function_call":
                calls.append(_call_of(item.get("call_id"), item.get("name"), item.get("arguments")))
            case "custom_tool_call":
                calls.append(_call_of(item.get("call_id"), item.get("name"), {"input": item.get("input")}))
            case "tool_use":
                partial = item.get("partial_json")
                given = partial if isinstance(partial, str) and partial.strip() else item.get("input")
                calls.append(_call_of(item.get("id"), item.get("name"), given))
            case "reasoning" | "thinking" | "redacted_thinking":
                state.append(item)
    return {"content": "\n".join(texts), "tool_calls": calls[:CALLS], "reasoning_items": state}


def _call_of(call_id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": call_id, "function": {"name": name, "arguments": text}}
