"""What comes back from an expert, checked: whole replies, streams of events, and refusals.

Knows the shapes of OpenAI's chat completions, not how the bytes were fetched.
"""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from base.sse import Event, EventCutter, EventTooLong
from experts.credentials import redact
from experts.errors import (
    ContextTooLong,
    ExpertBadReply,
    ExpertBusy,
    ExpertError,
    ExpertRejected,
    ExpertTimeout,
    ExpertUnavailable,
)
from experts.expert import Expert

DONE = b"[DONE]"
DRAIN_S = 0.05
"""How long a finished stream waits for its connection's end; past it the connection is closed instead."""

_CONTEXT = re.compile(
    r"context.{0,3}length|context window|max_model_len|max_total_tokens|maximum model length"
    r"|prompt is too long|too many (?:input )?tokens|input is too long",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ExpertReply:
    """A whole chat completion. `headers` are the expert's, names in lower case."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def usage(self) -> Any:
        """OpenAI's `usage`, as the server sent it."""
        return self.body.get("usage")


def check_completion(expert: Expert, body: Any, secret: SecretStr | None = None) -> dict[str, Any]:
    """`body` if it is a chat completion. Raises `ExpertBadReply`, or what an error object stands for:
    some servers send errors with status 200."""
    if isinstance(body, dict):
        choices = body.get("choices")
        if isinstance(choices, list) and choices and all(_has(choice, "message") for choice in choices):
            return body
        if isinstance(body.get("error"), dict):
            raise refusal(expert, _error_status(body["error"]), body, secret)
    raise ExpertBadReply(expert.name, f"Expert {expert.name} sent a reply that is no chat completion.")


def refusal(expert: Expert, status: int, payload: Any, secret: SecretStr | None = None) -> ExpertError:
    """The error that an HTTP status and its body (parsed JSON, or None) stand for."""
    name = expert.name
    if 300 <= status < 400 or status < 200:
        return ExpertBadReply(name, f"Expert {name} answered with HTTP {status}.")
    if status in {401, 403}:
        return ExpertUnavailable(name, f"Expert {name} refused our credentials (HTTP {status}).")
    if status == 404:
        return ExpertUnavailable(name, f"Expert {name} is not served at its endpoint (HTTP 404).")
    if status == 408:
        return ExpertTimeout(name, f"Expert {name} took too long (HTTP 408).")
    if status == 429:
        return ExpertBusy(name, f"Expert {name} takes no more requests now (HTTP 429).")
    if not 400 <= status < 500:
        return ExpertUnavailable(name, f"Expert {name} failed (HTTP {status}).")
    error = _openai_error(payload, secret)
    if status in {400, 413, 422} and (
        error["code"] == "context_length_exceeded" or _CONTEXT.search(error["message"])
    ):
        error |= {"type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}
        return ContextTooLong(name, f"The conversation is too long for expert {name}.", error=error)
    return ExpertRejected(
        name, f"Expert {name} rejected the request (HTTP {status}).", error=error, status=status
    )


def _openai_error(payload: Any, secret: SecretStr | None) -> dict[str, Any]:
    """Any server's error body as OpenAI's error object."""
    error = payload.get("error", payload) if isinstance(payload, dict) else payload
    if not isinstance(error, dict):
        error = {"message": error}
    said = error.get("message") or error.get("detail")
    message = said if isinstance(said, str) else "The expert's server gave no reason."
    param, kind, code = error.get("param"), error.get("type"), error.get("code")
    return {
        "message": redact(message, [secret])[:4000],
        "type": kind if isinstance(kind, str) else "invalid_request_error",
        "param": param if isinstance(param, str) else None,
        "code": code if isinstance(code, str) else None,
    }


def _error_status(error: Mapping[str, Any]) -> int:
    """vLLM and OpenRouter put the HTTP status into `code` when the real one is spent."""
    code = error.get("code")
    return code if isinstance(code, int) and 400 <= code < 600 else 500


def _has(value: Any, name: str) -> bool:
    return isinstance(value, dict) and isinstance(value.get(name), dict)


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One server-sent event: its bytes, and the chunk that they hold. Comments have none, nor has the end
    (`data: [DONE]`), which is `done`."""

    raw: bytes
    chunk: dict[str, Any] | None = None
    done: bool = False

    @classmethod
    def of(cls, chunk: dict[str, Any]) -> "StreamEvent":
        """An event of our own. Half a surrogate pair becomes `?`."""
        text = json.dumps(chunk, ensure_ascii=False, separators=(",", ":"))
        return cls(b"data: " + text.encode("utf-8", "replace") + b"\n\n", chunk)


END_OF_STREAM = StreamEvent(b"data: [DONE]\n\n", done=True)


def raw_bytes(events: Iterable[StreamEvent]) -> bytes:
    """The events' bytes as they came."""
    return b"".join(event.raw for event in events)


class ReplyStream:
    """A streamed chat completion: an async iterator of the expert's own events.

    Each item is one or more whole events, as soon as they are complete, their bytes as they came; what has
    data was parsed once and is a chat completion chunk. The iterator raises `ExpertTimeout` after `idle_s`
    of silence or past `total_s`, and `ExpertBadReply` when the stream is malformed or ends half way.
    `usage`, `finish_reason` and `model` are what the events have said so far; `done` after `[DONE]`.
    """

    def __init__(
        self,
        expert: Expert,
        source: AsyncIterator[bytes],
        *,
        headers: Mapping[str, str],
        deadline: float,
        max_event_bytes: int = 4 * 2**20,
        secret: SecretStr | None = None,
    ) -> None:
        """`source` yields bytes and may raise `ExpertError`; `deadline` is on `time.monotonic()`'s clock;
        `max_event_bytes` bounds each event, and all that comes before the first one with data."""
        self.headers = headers
        self.usage: dict[str, Any] | None = None
        self.finish_reason: str | None = None
        self.model: str | None = None
        self._expert = expert
        self._source = source
        self._deadline = deadline
        self._secret = secret
        self._max_event_bytes = max_event_bytes
        self._cutter = EventCutter(max_event_bytes)
        self._first: list[StreamEvent] | None = None
        self._begun = False
        self.done = False
        self._broken: ExpertError | None = None

    async def begin(self, within_s: float) -> None:
        """Wait for the first event that carries data, so that a failure before it can still be answered
        with a status, or by another expert. Raises `ExpertTimeout`, `ExpertUnavailable`, `ExpertBadReply`
        and what an error event stands for."""
        until = min(self._deadline, time.monotonic() + within_s)
        held: list[StreamEvent] = []
        while not self._begun and not self.done:
            held += await self._next_events(until, f"sent no first byte in {within_s:g} s")
            if sum(len(event.raw) for event in held) > self._max_event_bytes:
                raise self._malformed()
        if not self._begun:
            raise ExpertBadReply(self._expert.name, f"Expert {self._expert.name} sent an empty stream.")
        self._first = held

    def __aiter__(self) -> "ReplyStream":
        return self

    async def __anext__(self) -> list[StreamEvent]:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        while not self.done:
            idle_s = self._expert.timeouts.idle_s
            until = min(self._deadline, time.monotonic() + idle_s)
            if events := await self._next_events(
                until, f"stalled in the middle of its answer for {idle_s:g} s"
            ):
                return events
        await self._drain()
        raise StopAsyncIteration

    async def _next_events(self, until: float, silence: str) -> list[StreamEvent]:
        """The events that the next piece of the source completes; may be none."""
        if self._broken is not None:
            raise self._broken
        name = self._expert.name
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                chunk = await anext(self._source, None)
            events = self._ending() if chunk is None else self._cutter.feed(chunk)
        except TimeoutError:
            if until >= self._deadline:
                silence = f"did not finish in {self._expert.timeouts.total_s:g} s"
            raise ExpertTimeout(name, f"Expert {name} {silence}.") from None
        except EventTooLong as error:
            raise self._malformed() from error
        return self._checked(events)

    def _checked(self, events: list[Event]) -> list[StreamEvent]:
        """The good events, up to `[DONE]`. What is wrong with a later one is kept until they have been
        passed on."""
        good: list[StreamEvent] = []
        for event in events:
            try:
                chunk = None if event.data is None else self._check(event.data)
            except ExpertError as error:
                if not good:
                    raise
                self._broken = error
                break
            good.append(StreamEvent(event.raw, chunk, self.done))
            if self.done:
                break
        return good

    async def _drain(self) -> None:
        """Read what follows `[DONE]`, normally just the end, so that the connection can be used again."""
        with contextlib.suppress(TimeoutError, ExpertError):
            async with asyncio.timeout(DRAIN_S):
                async for _ in self._source:
                    pass

    def _ending(self) -> list[Event]:
        """What to pass on at the end of the source. Some servers send no `[DONE]`: after a finish reason the
        answer is whole, and gets one; before it, it was cut off."""
        rest = self._cutter.rest()
        if rest is not None and rest.data == DONE:
            return [Event(END_OF_STREAM.raw, DONE)]
        if not self._begun:
            self.done = True
            return []
        if self.finish_reason is None or (rest is not None and rest.data is not None):
            name = self._expert.name
            raise ExpertBadReply(name, f"Expert {name} stopped in the middle of its answer.")
        return [Event(END_OF_STREAM.raw, DONE)]

    def _check(self, data: bytes) -> dict[str, Any] | None:
        if data.strip() == DONE:
            self.done = True
            return None
        try:
            chunk = json.loads(data)
        except ValueError as error:
            raise self._malformed() from error
        if not isinstance(chunk, dict) or not isinstance(chunk.get("choices"), list):
            if isinstance(chunk, dict) and isinstance(chunk.get("error"), dict):
                raise self._failure(chunk)
            raise self._malformed()
        self._begun = True
        if isinstance(chunk.get("usage"), dict):
            self.usage = chunk["usage"]
        if isinstance(chunk.get("model"), str):
            self.model = chunk["model"]
        for choice in chunk["choices"]:
            if isinstance(choice, dict) and isinstance(choice.get("finish_reason"), str):
                self.finish_reason = choice["finish_reason"]
        return chunk

    def _failure(self, chunk: Mapping[str, Any]) -> ExpertError:
        """An error event: before any data it is a refusal like any other, later a broken answer."""
        if not self._begun:
            return refusal(self._expert, _error_status(chunk["error"]), chunk, self._secret)
        name = self._expert.name
        return ExpertBadReply(name, f"Expert {name} reported a failure in the middle of its answer.")

    def _malformed(self) -> ExpertBadReply:
        name = self._expert.name
        return ExpertBadReply(name, f"Expert {name} sent something that is no chat completion stream.")
