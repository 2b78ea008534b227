"""Answers of servers that speak other dialects than chat completions: OpenAI's responses, Anthropic's
messages, and embeddings. They pass as they came, checked, with the expert's name for the model's.

Knows the shapes, not how the bytes were fetched, nor what clients make of them.
https://platform.openai.com/docs/api-reference/responses-streaming
https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

from collections.abc import Mapping
from typing import Any, TypeGuard

from pydantic import SecretStr

from base.usage import TokenUsage
from experts.errors import ExpertBadReply
from experts.event_reader import EventReader
from experts.expert import Expert
from experts.refusals import error_in, reported_error
from experts.stream_events import StreamEvent

_STOP_REASONS = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
    "tool_use": "tool_calls",
}
"""Anthropic's reasons in chat's words; all others are "stop"."""
_TERMINAL = ("response.completed", "response.incomplete")
_FAILED = ("response.failed", "response.cancelled")
_CALLS = ("function_call", "custom_tool_call", "tool_use", "server_tool_use")
"""Items and blocks that say something by being there."""


def check_response(expert: Expert, body: Any, secret: SecretStr | None = None) -> dict[str, Any]:
    """`body` as a response of the expert's name. Raises what it stands for when it is none."""
    if (error := error_in(body)) is not None:
        raise reported_error(expert, error, secret)
    output = body.get("output") if isinstance(body, dict) else None
    if not _typed(output) or not all(
        _typed(item.get("content")) for item in output if item["type"] == "message"
    ):
        raise _no_answer(expert, "response")
    if body.get("status") in ("failed", "cancelled"):
        raise reported_error(expert, {"error": "no reason given"}, secret)
    return {**body, "model": expert.name}


def check_message(expert: Expert, body: Any, secret: SecretStr | None = None) -> dict[str, Any]:
    """`body` as a message of the expert's name. Raises what it stands for when it is none."""
    if (error := error_in(body)) is not None:
        raise reported_error(expert, error, secret)
    if not isinstance(body, dict) or not _typed(body.get("content")):
        raise _no_answer(expert, "message")
    return {"type": "message", "role": "assistant", "stop_sequence": None, **body, "model": expert.name}


def check_embeddings(expert: Expert, body: Any, secret: SecretStr | None = None) -> dict[str, Any]:
    """`body` as a list of embeddings of the expert's name. Raises what it stands for when it is none."""
    if (error := error_in(body)) is not None:
        raise reported_error(expert, error, secret)
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list) or not all(
        isinstance(each, dict) and isinstance(each.get("embedding"), list | str) for each in data
    ):
        raise _no_answer(expert, "list of embeddings")
    return {"object": "list", **body, "model": expert.name}


def _typed(parts: Any) -> TypeGuard[list[dict[str, Any]]]:
    """Whether these are parts as both APIs have them: objects that say their type."""
    return isinstance(parts, list) and all(
        isinstance(part, dict) and isinstance(part.get("type"), str) for part in parts
    )


def native_usage(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The usage of a whole answer, in chat's form."""
    return TokenUsage.of(body.get("usage")).document()


def _no_answer(expert: Expert, what: str) -> ExpertBadReply:
    return ExpertBadReply(expert.name, f"Expert {expert.name} sent a reply that is no {what}.")


class ResponsesReader(EventReader):
    """Reads the events of a streamed response. Its last event is `response.completed` or
    `response.incomplete`; without one it was cut off."""

    @property
    def whole(self) -> bool:
        return self.ended

    def _end_event(self) -> StreamEvent:
        raise self._cut()

    def _done(self) -> None:
        """Some servers end the stream as chat completions end; it comes after the last event."""
        raise self._cut()

    def _to_event(self, document: dict[str, Any]) -> StreamEvent | None:
        kind = document.get("type")
        if not isinstance(kind, str):
            return None
        response = document.get("response")
        if kind in _FAILED:
            found = error_in(response)
            raise self._failure({"error": "no reason given"} if found is None else found)
        if isinstance(response, dict):
            if kind == "response.completed" and response.get("status") == "incomplete":
                kind = "response.incomplete"  # vLLM ends truncated responses as if they were complete
            self._read_response(kind, response)
            document = {**document, "type": kind, "response": {**response, "model": self._expert.name}}
        item = document.get("item")
        self.begun = (
            self.begun
            or self.ended
            or (kind.endswith(".delta") and bool(document.get("delta")))
            or (isinstance(item, dict) and item.get("type") in _CALLS)
        )
        return StreamEvent.of(document, kind, done=self.ended)

    def _read_response(self, kind: str, response: Mapping[str, Any]) -> None:
        if isinstance(response.get("model"), str):
            self.model = response["model"]
        if isinstance(response.get("usage"), dict):
            self.usage = native_usage(response)
        if kind not in _TERMINAL:
            return
        self.ended = True
        details = response.get("incomplete_details")
        if kind == "response.incomplete":
            filtered = isinstance(details, dict) and details.get("reason") == "content_filter"
            self.finish_reason = "content_filter" if filtered else "length"
        else:
            output = response.get("output")
            called = isinstance(output, list) and any(
                isinstance(item, dict) and item.get("type") in _CALLS for item in output
            )
            self.finish_reason = "tool_calls" if called else "stop"


class MessagesReader(EventReader):
    """Reads the events of a streamed message. Its last event is `message_stop`; with a stop reason the
    message is whole without it too."""

    def __init__(self, expert: Expert, secret: SecretStr | None = None) -> None:
        super().__init__(expert, secret)
        self._counts: dict[str, Any] = {}

    @property
    def whole(self) -> bool:
        return self.finish_reason is not None

    def _end_event(self) -> StreamEvent:
        return StreamEvent.of({"type": "message_stop"}, "message_stop", done=True)

    def _heartbeat(self) -> StreamEvent:
        return StreamEvent.of({"type": "ping"}, "ping")

    def _to_event(self, document: dict[str, Any]) -> StreamEvent | None:
        kind = document.get("type")
        if not isinstance(kind, str):
            return None
        message, delta, block = (_part(document, name) for name in ("message", "delta", "content_block"))
        if kind == "message_start":
            self.model = message.get("model") if isinstance(message.get("model"), str) else None
            self._count(message.get("usage"))
            document = {**document, "message": {**message, "model": self._expert.name}}
        elif kind == "message_delta":
            self._count(document.get("usage"))
            if isinstance(reason := delta.get("stop_reason"), str) and reason:
                self.finish_reason = _STOP_REASONS.get(reason, "stop")
        elif kind == "message_stop":
            self.ended = True
        says = kind == "content_block_delta" and any(
            delta.get(name) for name in ("text", "thinking", "partial_json", "signature")
        )
        self.begun = (
            self.begun or says or self.whole or block.get("type") in _CALLS or bool(block.get("text"))
        )
        return StreamEvent.of(document, kind, done=self.ended)

    def _count(self, usage: Any) -> None:
        """The start has the prompt's tokens, the end those of the answer, and some servers all of them."""
        if isinstance(usage, dict):
            self._counts |= {name: value for name, value in usage.items() if value is not None}
            self.usage = TokenUsage.of(self._counts).document()


def _part(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = document.get(name)
    return part if isinstance(part, dict) else {}
