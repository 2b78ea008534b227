"""The response to a chat: an answer as it comes, its decision in the body or first event, and in headers."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Protocol

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.error_handlers import error_document, error_response, service_error
from app.api.json import JsonResponse
from app.errors import ServiceError, place_of
from app.serving.answer_lifecycle import AnswerLifecycle
from app.serving.answer_record import AnswerRecord
from app.serving.decision_document import decision_headers
from experts.errors import ExpertError
from experts.expert_replies import StreamEvent, raw_bytes

CLIENT_CLOSED = 499
"""The status that nginx logs for a client that disconnected; nobody receives it."""

log = structlog.get_logger(__name__)


class AnswerSource(Protocol):
    """Who answers: one expert (`Answering`), or a strategy of several. Both raise ExpertError and
    ServiceError; `record.decision` names who answers from the first item on."""

    async def whole(self, record: AnswerRecord) -> dict[str, Any]:
        """The answer as one completion."""
        ...

    def events(self, record: AnswerRecord) -> AsyncGenerator[Sequence[StreamEvent]]:
        """The answer's events as they come, the end included. Closing it early stops every expert."""
        ...


class AnswerResponse(Response):
    """Watches for the client to disconnect while experts answer, and then cancels their work.

    Nothing is sent before the first event of an answer, so that an earlier failure still has its own HTTP
    status.
    """

    def __init__(self, lifecycle: AnswerLifecycle, record: AnswerRecord, source: AnswerSource) -> None:
        super().__init__()
        self._lifecycle = lifecycle
        self._record = record
        self._source = source
        self._sent = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._stream(send) if self._record.stream else self._complete(scope, receive, send)
        work = asyncio.create_task(answer)
        leaving = asyncio.create_task(_client_left(receive))
        try:
            await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            unfinished = not work.done()
            for task in (work, leaving):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await leaving
            with suppress(asyncio.CancelledError):
                await asyncio.wait({work})
            if unfinished:
                await self._lifecycle.finish(
                    self._record, "cancelled", CLIENT_CLOSED, error_code="client_closed_request"
                )
        error = None if work.cancelled() else work.exception()
        if unfinished:
            return
        if error is not None:
            await self._fail(error, scope, receive, send)
        elif self.background is not None:
            await self.background()

    async def _complete(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = self._record
        document = await self._source.whole(record)
        self._lifecycle.first_byte(record)
        await self._lifecycle.finish(record, "ok", 200)
        response = JsonResponse(
            {**document, "routing": record.document}, headers=decision_headers(record.decision)
        )
        self._sent = True
        await response(scope, receive, send)

    async def _stream(self, send: Send) -> None:
        record = self._record
        async with aclosing(self._source.events(record)) as stream:
            async for events in stream:
                body = raw_bytes(events)
                if not self._sent:
                    body = with_routing(events, record.document)
                    self._lifecycle.first_byte(record)
                    self._sent = True
                    await send(self._start())
                if events[-1].done:
                    # A client stops reading at [DONE] and may ask for its decision at once: write it before.
                    await self._lifecycle.finish(record, "ok", 200)
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await self._lifecycle.finish(record, "ok", 200)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _start(self) -> dict[str, Any]:
        headers = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            **decision_headers(self._record.decision),
        }
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        return {"type": "http.response.start", "status": 200, "headers": raw}

    async def _fail(self, failure: BaseException, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the error: as an HTTP status while nothing was sent, as a last event after that."""
        if not isinstance(failure, Exception):
            raise failure
        if not isinstance(failure, ExpertError | ServiceError):
            log.error("unexpected_error", error=type(failure).__name__, at=place_of(failure))
        error = service_error(failure)
        status = 200 if self._sent else error.status
        await self._lifecycle.finish(self._record, "error", status, error_code=error.code)
        if self._sent:
            last = StreamEvent.of(error_document(error)).raw
            await send({"type": "http.response.body", "body": last, "more_body": False})
            return
        error.headers |= decision_headers(self._record.decision)
        await error_response(error)(scope, receive, send)


def with_routing(events: Sequence[StreamEvent], routing: Mapping[str, Any]) -> bytes:
    """The events' bytes, with `routing` in the first one that has a chunk; all else as it came."""
    out = []
    pending = True
    for event in events:
        if pending and event.chunk is not None:
            new = StreamEvent.of({**event.chunk, "routing": routing}).raw
            others = [line for line in event.raw.splitlines() if line and not line.startswith(b"data:")]
            out.append(b"\n".join([*others, new]))
            pending = False
        else:
            out.append(event.raw)
    return b"".join(out)


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
