"""OpenAI's chat completions: answers pass as they are, with the decision put in.

https://platform.openai.com/docs/api-reference/chat
"""

from collections.abc import Mapping, Sequence
from typing import Any

from app.dialects.content_parts import chat_parts
from app.dialects.dialect import Dialect, Document, Translation
from app.dialects.error_shapes import openai_error
from app.dialects.legacy_functions import with_function_call, with_tools
from app.errors import ServiceError
from app.serving.chat_body import ChatBody, ChatRequest
from base.usage import TokenUsage
from experts.expert_replies import END_OF_STREAM, StreamEvent

ENVELOPE = ("id", "object", "created", "model")
"""What all chunks of an answer have in common."""


class ChatPresenter:
    """Of a stream, a chunk without choices is sent only at the end, with the usage, to clients that asked for
    it: experts tell theirs in different places, and some readers add up whatever they see."""

    response: Document | None = None

    def __init__(self, chat: ChatRequest) -> None:
        self._legacy = chat.body.functions is not None
        """The client asked with `functions`: tool calls are told as function calls."""
        self._wants_usage = bool((chat.body.stream_options or {}).get("include_usage"))
        self._routing: Document | None = None
        """The decision, until a chunk has it."""
        self._last: Document | None = None
        """The chunk that ends a choice, held back: it may get the final `routing`."""
        self._latest: Document = {}
        """The chunk that was shown last, for what they have in common."""

    def whole(self, answer: Document, routing: Document) -> Document:
        if self._legacy:
            answer = with_function_call(answer, "message")
        return {**answer, "routing": routing}

    def events(self, events: Sequence[StreamEvent], routing: Document | None) -> list[StreamEvent]:
        self._routing = routing
        shown: list[StreamEvent] = []
        for event in events:
            if event.chunk is None:
                shown.append(event)
            else:
                self._show(event, event.chunk, shown)
        return shown

    def end(self, routing: Document | None, usage: Document | None) -> list[StreamEvent]:
        closing: list[StreamEvent] = []
        if self._last is not None:
            final = self._last if routing is None else {**self._last, "routing": routing}
            closing.append(StreamEvent.of(final))
        if self._wants_usage and usage is not None and TokenUsage.of(usage).both is not None:
            envelope = {name: self._latest[name] for name in ENVELOPE if name in self._latest}
            closing.append(StreamEvent.of({**envelope, "choices": [], "usage": usage}))
        return [*closing, END_OF_STREAM]

    def error(self, error: ServiceError) -> list[StreamEvent]:
        held = [] if self._last is None else [StreamEvent.of(self._last)]
        return [*held, StreamEvent.of(openai_error(error))]

    def _show(self, event: StreamEvent, chunk: Document, shown: list[StreamEvent]) -> None:
        """Add to `shown` what is to be seen of `chunk`, which is the event's, and of the one before."""
        if not (choices := chunk.get("choices")):
            return
        told = self._told(chunk, choices)
        self._latest = told
        if self._last is not None:
            shown.append(StreamEvent.of(self._last))
            self._last = None
        if any([_ends(choice) for choice in choices]):
            self._last = told
        else:
            shown.append(event if told is chunk else StreamEvent.of(told))

    def _told(self, chunk: Document, choices: list[Any]) -> Document:
        """The chunk as the client sees it: itself where nothing changes."""
        if self._legacy:
            chunk = with_function_call(chunk, "delta")
            choices = chunk["choices"]
        # Some experts tell their usage in the last choice.
        if "usage" in chunk or any(["usage" in choice for choice in choices]):
            chunk = {**_without_usage(chunk), "choices": [_without_usage(choice) for choice in choices]}
        if self._routing is not None:
            chunk, self._routing = {**chunk, "routing": self._routing}, None
        return chunk


def _without_usage(document: Any) -> Any:
    if not isinstance(document, dict) or "usage" not in document:
        return document
    return {name: value for name, value in document.items() if name != "usage"}


def _ends(choice: Any) -> bool:
    return isinstance(choice, Mapping) and bool(choice.get("finish_reason"))


def to_chat(document: Mapping[str, Any]) -> Translation:
    """The request with content parts and tools as chat completions have them now."""
    return Translation(with_tools(chat_parts(document)))


CHAT = Dialect("chat", ChatBody, to_chat, ChatPresenter, ChatPresenter)
