"""Chat completions as the client reads them: whole answers, and the events of a stream."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from base.sse import Event, EventCutter, EventTooLong
from base.usage import TokenUsage
from client.documents import RoutingDecision
from client.errors import ApiBadReply, ApiTimeout
from client.exchange import HttpReply, HttpRequest, refusal

Messages = str | Sequence[Mapping[str, Any]]
"""Chat messages, or the one question of a user."""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A whole answer."""

    text: str
    thinking: str = ""
    """What a reasoning model wrote before its answer."""
    finish_reason: str | None = None
    usage: TokenUsage = field(default_factory=TokenUsage)
    expert: str | None = None
    """Who answered; None when the server is not Coterie."""
    decision: RoutingDecision | None = None
    logprobs: Any = None
    """OpenAI's log-probabilities of the tokens, when they were asked for."""
    latency_s: float = 0.0
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The whole body, for what is not read here, such as tool calls."""


@dataclass(frozen=True, slots=True)
class Decided:
    """Who answers, and why: the stream's first event; once more at the end, with the trace, when a strategy
    asked several experts."""

    decision: RoutingDecision


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer, or of the expert's thinking before it. `raw` is OpenAI's `delta`, for what is
    not read here, such as tool calls."""

    text: str = ""
    thinking: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """The stream's last event: why the expert stopped (`stop`, `length`, …), and what it counted."""

    finish_reason: str | None
    usage: TokenUsage = field(default_factory=TokenUsage)


ChatEvent = Decided | Delta | Ended


def routes(model: str) -> bool:
    """Whether `model` leaves the choice of the expert to Coterie: `coterie`, `coterie/<category>`."""
    return model == "coterie" or model.startswith("coterie/")


def chat_request(path: str, messages: Messages, model: str, fields: Mapping[str, Any]) -> HttpRequest:
    """The request for `messages`; `fields` go into the body as they are."""
    said = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    return HttpRequest("POST", path, body={"model": model, "messages": said, **fields}, is_answer=True)


def read_reply(reply: HttpReply) -> ChatReply:
    """The answer in a chat completion. Raises ApiBadReply when it is none."""
    document = reply.document()
    try:
        choice = document["choices"][0]
        message = choice["message"]
    except (KeyError, IndexError, TypeError):
        raise ApiBadReply("The answer is no chat completion.", status=reply.status) from None
    text, thinking = _texts(message)
    decision = _decision(document)
    return ChatReply(
        text,
        thinking,
        finish_reason=_finish(choice),
        usage=TokenUsage.of(document.get("usage")),
        expert=reply.headers.get("x-coterie-expert") or (None if decision is None else decision.expert),
        decision=decision,
        logprobs=choice.get("logprobs"),
        latency_s=reply.seconds,
        document=document,
    )


class ChatEventReader:
    """Reads a streamed completion: feed it the bytes as they come, in any pieces."""

    def __init__(self) -> None:
        self._cutter = EventCutter()
        self._finish_reason: str | None = None
        self._usage = TokenUsage()
        self.done = False
        """Whether the stream's end has come; what follows is not read."""

    def feed(self, piece: bytes) -> Iterator[ChatEvent]:
        """The events that `piece` completes. Raises ApiBadReply, and ApiRefused for the API's own error."""
        try:
            found = self._cutter.feed(piece)
        except EventTooLong as error:
            raise ApiBadReply(f"The answer's stream is malformed: {error}.") from None
        for event in found:
            yield from self._read(event)

    def close(self) -> Iterator[ChatEvent]:
        """The events after the last byte. Raises ApiTimeout when the stream ended before the answer did."""
        rest = self._cutter.rest()
        if rest is not None:
            yield from self._read(rest)
        if self.done:
            return
        if self._finish_reason is None:
            raise ApiTimeout("The answer broke off before its end.")
        yield self._end()

    def _read(self, event: Event) -> Iterator[ChatEvent]:
        if self.done or event.data is None or event.name == "ping":
            return
        if event.data.strip() in {b"", b"null"}:
            return
        if event.data.strip() == b"[DONE]":
            yield self._end()
            return
        chunk = _chunk(event.data)
        decision = _decision(chunk)
        if decision is not None:
            yield Decided(decision)
        choices = chunk.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            self._finish_reason = _finish(choices[0]) or self._finish_reason
            delta = choices[0].get("delta") or {}
            text, thinking = _texts(delta)
            if text or thinking or delta.get("tool_calls"):
                yield Delta(text, thinking, delta)
        if isinstance(chunk.get("usage"), dict):
            self._usage = TokenUsage.of(chunk["usage"])

    def _end(self) -> Ended:
        self.done = True
        return Ended(self._finish_reason, self._usage)


def _chunk(data: bytes) -> dict[str, Any]:
    """One event's JSON. Raises ApiRefused when it is the API's error."""
    try:
        chunk = json.loads(data)
    except (ValueError, RecursionError):
        chunk = None
    if not isinstance(chunk, dict):
        raise ApiBadReply("The answer's stream holds something that is no JSON object.")
    if chunk.get("error"):
        raise refusal(chunk)
    return chunk


def _texts(message: Any) -> tuple[str, str]:
    """The text of a message or delta, and the thinking before it. Raises ApiBadReply."""
    if not isinstance(message, Mapping):
        raise ApiBadReply("The answer is no chat completion.")
    text = message.get("content") or message.get("refusal") or ""
    thinking = message.get("reasoning_content") or message.get("reasoning") or ""
    if not isinstance(text, str) or not isinstance(thinking, str):
        raise ApiBadReply("The answer's content is not text.")
    return text, thinking


def _decision(document: Mapping[str, Any]) -> RoutingDecision | None:
    routing = document.get("routing")
    if not isinstance(routing, dict):
        return None
    try:
        return RoutingDecision.model_validate(routing)
    except ValidationError:
        raise ApiBadReply("The decision has a shape that this client does not know.") from None


def _finish(choice: Mapping[str, Any]) -> str | None:
    reason = choice.get("finish_reason")
    return reason if isinstance(reason, str) else None
