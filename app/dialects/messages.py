"""Anthropic's Messages API: chat completions shown as messages, and messages of servers that speak it.

https://platform.claude.com/docs/en/api/messages
"""

from collections.abc import Mapping, Sequence
from typing import Any

from app.dialects.dialect import Dialect, Document
from app.dialects.error_shapes import anthropic_error
from app.dialects.messages_answer import AnswerOptions, whole_message
from app.dialects.messages_body import MessagesBody
from app.dialects.messages_request import to_chat
from app.dialects.messages_stream import MessageStream
from app.errors import ServiceError
from app.serving.chat_body import ChatRequest
from experts.expert_replies import StreamEvent


class MessagesPresenter:
    """A chat completion as a message."""

    response: Document | None = None

    def __init__(self, chat: ChatRequest) -> None:
        self._options = AnswerOptions.of(chat.native or {})
        self._request_id = chat.request_id
        self._stream = MessageStream(self._options)
        self._started = False

    def whole(self, answer: Document, routing: Document) -> Document:
        return whole_message(answer, routing, self._options)

    def events(self, events: Sequence[StreamEvent], routing: Document | None) -> list[StreamEvent]:
        shown: list[Document] = []
        for event in events:
            if event.chunk is None:
                if self._started:  # a comment keeps the connection alive, as Anthropic's pings do
                    shown.append({"type": "ping"})
                continue
            if not self._started:
                self._started = True
                shown.append(self._stream.start(event.chunk, routing or {}))
            shown += self._stream.add(event.chunk)
        return [_event(document) for document in shown]

    def end(self, routing: Document | None, usage: Document | None) -> list[StreamEvent]:
        if usage is not None:
            self._stream.usage = usage
        closing = self._stream.finish()
        if routing is not None:
            for document in closing:
                if document["type"] == "message_delta":
                    document["routing"] = routing
        return [_event(document) for document in closing]

    def error(self, error: ServiceError) -> list[StreamEvent]:
        return [_event(anthropic_error(error, self._request_id))]


class NativePresenter:
    """A message of a server that speaks Messages: passed on as it came, thinking and signatures included."""

    response: Document | None = None

    def __init__(self, chat: ChatRequest) -> None:
        self._request_id = chat.request_id
        self._started = False

    def whole(self, answer: Document, routing: Document) -> Document:
        # vLLM leaves the stop sequence out where there is none.
        return {"stop_sequence": None, **answer, "routing": routing}

    def events(self, events: Sequence[StreamEvent], routing: Document | None) -> list[StreamEvent]:
        shown: list[StreamEvent] = []
        for event in events:
            chunk = event.chunk
            if chunk is None:
                shown += [_event({"type": "ping"})] if self._started else []
            elif chunk.get("type") == "message_start" and isinstance(chunk.get("message"), dict):
                self._started = True
                shown.append(_event({**chunk, "message": {**chunk["message"], "routing": routing}}))
            else:
                shown.append(event)
        return shown

    def end(self, routing: Document | None, usage: Document | None) -> list[StreamEvent]:
        return []

    def error(self, error: ServiceError) -> list[StreamEvent]:
        return [_event(anthropic_error(error, self._request_id))]


def without_unsigned_thinking(document: Mapping[str, Any]) -> Document:
    """A request without thinking that nobody signed, as that of chat completions: Anthropic's API would
    refuse it, and servers that speak Messages sign their own."""
    return {**document, "messages": [_signed(turn) for turn in document["messages"]]}


def _signed(turn: Document) -> Document:
    content = turn["content"]
    if turn["role"] != "assistant" or not isinstance(content, list):
        return turn
    kept = [block for block in content if block["type"] != "thinking" or block.get("signature")]
    return turn if len(kept) == len(content) else {**turn, "content": kept}


def _event(document: Document) -> StreamEvent:
    """An event of Anthropic's streams: its type is its name."""
    return StreamEvent.of(document, document["type"])


MESSAGES = Dialect("messages", MessagesBody, to_chat, MessagesPresenter, NativePresenter)
