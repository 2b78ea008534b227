"""OpenAI's Responses API: requests in, responses and their events out.

https://platform.openai.com/docs/api-reference/responses
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.dialects.dialect import Dialect, Document, Translation
from app.dialects.responses_output import Event, ResponseOutput
from app.dialects.responses_request import (
    ResponsesBody,
    ResponsesRequest,
    responses_request,
    translate,
)
from app.dialects.responses_tools import echoed_tool, echoed_tool_choice
from app.errors import ServiceError
from app.serving.chat_body import ChatRequest
from base.usage import TokenUsage
from experts.stream_events import StreamEvent

PREFIX = "resp_"
DECISION_PREFIX = "dec_"
TIERS = ("auto", "default", "flex", "scale", "priority", "fast")
ENDS = ("response.completed", "response.incomplete")
CALL_FIELDS = ("arguments", "call_id", "name", "type", "id", "caller", "namespace", "status")
"""What a published function call may have."""

_EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})
"""Those that a response may repeat; servers have others."""


def response_id(decision_id: str) -> str:
    """A response has the id of its decision, with a prefix of its own."""
    return PREFIX + decision_id.removeprefix(DECISION_PREFIX)


def decision_id(response: str) -> str:
    """The decision of a response."""
    return DECISION_PREFIX + response.removeprefix(PREFIX)


def responses_dialect(previous: str | None = None) -> Dialect:
    """The dialect for one request. `previous` is the id of the response that it continues; the items of that
    response are already in `input`."""

    def to_chat(document: Mapping[str, Any]) -> Translation:
        translation = translate(document)
        if previous is None:
            return translation
        routing = {"previous_decision": decision_id(previous), **(translation.chat.get("routing") or {})}
        return replace(translation, chat={**translation.chat, "routing": routing})

    def presented(chat: ChatRequest) -> ResponsesPresenter:
        return ResponsesPresenter(_request(chat, previous))

    def native(chat: ChatRequest) -> NativeResponses:
        return NativeResponses(_request(chat, previous))

    return Dialect("responses", ResponsesBody, to_chat, presented, native)


class ResponsesPresenter:
    """Shows a chat completion as a response."""

    def __init__(self, request: ResponsesRequest) -> None:
        self.response: Document | None = None
        self._request = request
        self._routing: Document | None = None
        self._output: ResponseOutput | None = None
        self._head: Document = {}
        """The response as it began."""
        self._usage: Any = None
        self._sequence = 0

    def whole(self, answer: Document, routing: Document) -> Document:
        output = self._begin(answer, routing)
        for choice in _first_choice(answer):
            output.take(choice, choice.get("message") or {})
        self._usage = answer.get("usage")
        output.finish()
        return self._ended(output)

    def events(self, events: Sequence[StreamEvent], routing: Document | None) -> list[StreamEvent]:
        shown: list[StreamEvent] = []
        if routing is not None:
            self._routing = routing
        for event in events:
            if event.chunk is not None:
                shown += self._chunk(event.chunk)
            elif self._output is not None:
                shown.append(event)
        return shown

    def end(self, routing: Document | None, usage: Document | None) -> list[StreamEvent]:
        shown, output = self._started({})
        self._usage = usage if usage is not None else self._usage
        if routing is not None:
            self._head["routing"] = _routing(routing, self._request)
        shown += self._stream_events(output.finish())
        response = self._ended(output)
        return shown + self._stream_events([{"type": f"response.{response['status']}", "response": response}])

    def error(self, error: ServiceError) -> list[StreamEvent]:
        shown, output = self._started({})
        failed = {**self._head, "status": "failed", "output": output.items, "error": _error(error)}
        return shown + self._stream_events([{"type": "response.failed", "response": failed}])

    def _chunk(self, chunk: Document) -> list[StreamEvent]:
        shown, output = self._started(chunk)
        if isinstance(chunk.get("usage"), Mapping):
            self._usage = chunk["usage"]
        self._head["service_tier"] = _tier(chunk) or self._head["service_tier"]
        if isinstance(chunk.get("routing"), Mapping):  # it has grown: the strategy has come to its end
            self._head["routing"] = _routing(chunk["routing"], self._request)
        for choice in _first_choice(chunk):
            shown += self._stream_events(output.take(choice, choice.get("delta") or {}))
        return shown

    def _started(self, chunk: Document) -> tuple[list[StreamEvent], ResponseOutput]:
        if self._output is not None:
            return [], self._output
        output = self._begin(chunk, self._routing or {})
        begun = [
            {"type": f"response.{state}", "response": dict(self._head)}
            for state in ("created", "in_progress")
        ]
        return self._stream_events(begun), output

    def _begin(self, answer: Document, routing: Document) -> ResponseOutput:
        self._head = _head(self._request, answer, routing)
        self._output = ResponseOutput(
            self._head["id"], self._request.tools, encrypts_reasoning=self._request.wants_encrypted_reasoning
        )
        return self._output

    def _ended(self, output: ResponseOutput) -> Document:
        incomplete_reason = output.incomplete_reason
        self.response = self._head | {
            "status": "completed" if incomplete_reason is None else "incomplete",
            "completed_at": int(time.time()) if incomplete_reason is None else None,
            "incomplete_details": None if incomplete_reason is None else {"reason": incomplete_reason},
            "output": output.items,
            "usage": response_usage(self._usage),
        }
        return self.response

    def _stream_events(self, events: Sequence[Event]) -> list[StreamEvent]:
        told = []
        for event in events:
            told.append(StreamEvent.of({**event, "sequence_number": self._sequence}, event["type"]))
            self._sequence += 1
        return told


class NativeResponses:
    """Passes on what a server that speaks the dialect answers: under our names, with what the published
    response has and no more."""

    def __init__(self, request: ResponsesRequest) -> None:
        self.response: Document | None = None
        self._request = request
        self._routing: Document = {}
        self._last: Document = {}
        self._sequence = 0

    def whole(self, answer: Document, routing: Document) -> Document:
        self._routing = routing
        self.response = self._published(answer)
        return self.response

    def events(self, events: Sequence[StreamEvent], routing: Document | None) -> list[StreamEvent]:
        if routing is not None:
            self._routing = routing
        return [event if event.chunk is None else self._passed_on(event.chunk) for event in events]

    def end(self, routing: Document | None, usage: Document | None) -> list[StreamEvent]:
        return []

    def error(self, error: ServiceError) -> list[StreamEvent]:
        begun = self._last or _head(self._request, {}, self._routing)
        failed = {**begun, "status": "failed", "error": _error(error)}
        return [self._numbered({"type": "response.failed", "response": failed})]

    def _passed_on(self, event: Document) -> StreamEvent:
        if not isinstance(event.get("response"), Mapping):
            return self._numbered({**event, "item": _item(event["item"])} if "item" in event else event)
        self._last = self._published(event["response"])
        kind = event["type"]
        if kind in ENDS:
            self.response = self._last
            if self._last["status"] == "incomplete":
                # vLLM ends an answer that is cut off as it ends the others.
                kind = "response.incomplete"
        return self._numbered({**event, "type": kind, "response": self._last})

    def _numbered(self, event: Document) -> StreamEvent:
        numbered = {**event, "sequence_number": self._sequence}
        self._sequence += 1
        return StreamEvent.of(numbered, event["type"])

    def _published(self, response: Mapping[str, Any]) -> Document:
        begun = _head(self._request, dict(response), self._routing)
        said = {name: response[name] for name in begun if response.get(name) is not None}
        return {
            **begun,
            **said,
            "id": begun["id"],
            # Theirs has the system prompt in front that the operator gave the expert.
            "instructions": begun["instructions"],
            "previous_response_id": begun["previous_response_id"],
            "output": [_item(item) for item in said.get("output", ())],
            # vLLM puts fields of its own into the tools, and says "none" for no choice.
            "tools": [echoed_tool(tool) for tool in self._request.document.get("tools") or ()],
            "tool_choice": begun["tool_choice"],
            "routing": self._routing,
            "usage": response_usage(response.get("usage")),
        }


def _item(item: Any) -> Any:
    """An output item of a server; a function call without what vLLM adds to it (`async`)."""
    if not isinstance(item, Mapping) or item.get("type") != "function_call":
        return item
    return {name: value for name, value in item.items() if name in CALL_FIELDS}


def response_usage(usage: Any) -> Document | None:
    """A response's `usage`; None when it is not known."""
    used = TokenUsage.of(usage)
    if used.both is None:
        return None
    return {
        "input_tokens": used.prompt,
        "input_tokens_details": {"cached_tokens": used.cached or 0, "cache_write_tokens": 0},
        "output_tokens": used.completion,
        "output_tokens_details": {"reasoning_tokens": used.reasoning or 0},
        "total_tokens": sum(used.both),
    }


def _head(request: ResponsesRequest, answer: Document, routing: Document) -> Document:
    """A response that has only begun: what its request and the beginning of its answer tell."""
    asked = request.document
    text = asked.get("text") or {}
    effort = (asked.get("reasoning") or {}).get("effort")
    return {
        "id": response_id(str(routing.get("id"))),
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "max_tool_calls": asked.get("max_tool_calls"),
        "metadata": asked.get("metadata") or {},
        "model": answer.get("model") or routing.get("expert") or asked.get("model"),
        "output": [],
        "parallel_tool_calls": asked.get("parallel_tool_calls") is not False,
        "previous_response_id": request.previous,
        "prompt_cache_key": asked.get("prompt_cache_key"),
        "reasoning": {"effort": effort if effort in _EFFORTS else None, "summary": None},
        "safety_identifier": asked.get("safety_identifier"),
        "service_tier": _tier(answer),
        "temperature": asked.get("temperature"),
        "text": {"format": text.get("format") or {"type": "text"}, "verbosity": text.get("verbosity")},
        "tool_choice": echoed_tool_choice(asked.get("tool_choice")),
        "tools": list(request.tools.shown),
        "top_logprobs": asked.get("top_logprobs") or 0,
        "top_p": asked.get("top_p"),
        "truncation": "disabled",
        "usage": None,
        "user": asked.get("user"),
        "routing": _routing(routing, request),
    }


def _request(chat: ChatRequest, previous: str | None) -> ResponsesRequest:
    return responses_request(chat.document if chat.native is None else chat.native, previous)


def _routing(routing: Mapping[str, Any], request: ResponsesRequest) -> Document:
    """The decision, with what of the request was left out."""
    return dict(routing) | ({"ignored": request.ignored} if request.ignored else {})


def _tier(answer: Document) -> str | None:
    tier = answer.get("service_tier")
    return tier if tier in TIERS else None


def _first_choice(document: Document) -> list[Mapping[str, Any]]:
    """A response has one answer."""
    choices = document.get("choices") or ()
    return [each for each in choices if isinstance(each, Mapping) and not each.get("index")][:1]


def _error(error: ServiceError) -> Document:
    known = {429: "rate_limit_exceeded"}
    other = "server_error" if error.status >= 500 else "invalid_prompt"
    return {"code": known.get(error.status, other), "message": error.message}
