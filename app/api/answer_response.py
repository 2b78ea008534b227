"""The response to a request: an answer as it comes, its decision in the body or an event, and in headers."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.client_watch import ClientWatch
from app.api.error_handlers import error_response, service_error
from app.dialects.dialect import Dialect, Document, Presenter
from app.errors import ServiceError, place_of
from app.serving.answer_lifecycle import AnswerLifecycle
from app.serving.answer_record import AnswerRecord
from app.serving.decision_document import decision_headers
from base.json_documents import json_bytes
from experts.errors import ExpertError
from experts.expert_replies import StreamEvent, raw_bytes
from routers.decision import Reason

CLIENT_CLOSED = 499
"""The status that nginx logs for a client that disconnected; nobody receives it."""
STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}

Keep = Callable[[AnswerRecord, Document], Awaitable[None]]
"""Keeps a whole response."""

log = structlog.get_logger(__name__)


class AnswerSource(Protocol):
    """Who answers: one expert (`Answering`), or a strategy of several. Both raise ExpertError and
    ServiceError; `record.decision` names who answers from the first item on."""

    async def whole(self, record: AnswerRecord) -> dict[str, Any]:
        """The answer as one completion; where `record.native`, as a response of the client's dialect."""
        ...

    def events(self, record: AnswerRecord) -> AsyncGenerator[Sequence[StreamEvent]]:
        """The answer's events as they come, chunks of a chat completion unless `record.native`; the last one
        is `done`. Closing it early stops every expert."""
        ...


class AnswerResponse(Response):
    """Watches for the client to disconnect while experts answer, and then cancels their work.

    Nothing is sent before the first event of an answer, so that an earlier failure still has its own HTTP
    status.
    """

    def __init__(
        self,
        lifecycle: AnswerLifecycle,
        record: AnswerRecord,
        source: AnswerSource,
        dialect: Dialect,
        *,
        keep: Keep | None = None,
    ) -> None:
        super().__init__()
        self._lifecycle = lifecycle
        self._record = record
        self._source = source
        self._dialect = dialect
        self._keep = keep
        self._presenter: Presenter | None = None
        """Of the answer that is being streamed."""
        self._sent = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watch = ClientWatch(receive)
        try:
            async with watch:
                await (self._stream(send) if self._record.stream else self._complete(send))
        except Exception as error:
            await self._fail(error, scope, receive, send)
        except asyncio.CancelledError:
            await self._cancelled()
            raise
        else:
            if watch.left:
                await self._cancelled()
            elif self.background is not None:
                await self.background()

    async def _cancelled(self) -> None:
        error = "client_closed_request"
        await self._lifecycle.finish(self._record, "cancelled", CLIENT_CLOSED, error_code=error)

    async def _complete(self, send: Send) -> None:
        record = self._record
        answer = await self._source.whole(record)
        record.reader.whole(answer)
        self._lifecycle.first_byte(record)
        presenter = self._present()
        body = json_bytes(presenter.whole(answer, record.document))
        await self._finish(presenter)
        self._sent = True
        await send(self._start({"content-length": str(len(body)), "content-type": "application/json"}))
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, send: Send) -> None:
        record = self._record
        async with aclosing(self._source.events(record)) as stream:
            async for events in stream:
                presenter = self._present()
                done = bool(events) and events[-1].done
                may_go_on = record.reader.events(events)
                # Strategies show at the end what they did.
                routing = None if self._sent else record.document
                shown = presenter.events([each for each in events if not each.done or each.chunk], routing)
                if done:
                    shown += presenter.end(None if record.trace is None else record.document, record.usage)
                if not shown:
                    continue
                if not self._sent:
                    self._lifecycle.first_byte(record)
                    self._sent = True
                    await send(self._start(STREAM_HEADERS))
                if may_go_on and not done:
                    self._lifecycle.remember(record)
                if done:
                    # A client stops reading at the end and may ask for its decision at once: write it before.
                    await self._finish(presenter)
                await send({"type": "http.response.body", "body": raw_bytes(shown), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _present(self) -> Presenter:
        if self._presenter is None:
            shows = self._dialect.native if self._record.native else self._dialect.presenter
            self._presenter = shows(self._record.chat)
        return self._presenter

    async def _finish(self, presenter: Presenter) -> None:
        if self._keep is not None and presenter.response is not None:
            await self._keep(self._record, presenter.response)
        await self._lifecycle.finish(self._record, "ok", 200)

    def _start(self, headers: Mapping[str, str]) -> dict[str, Any]:
        all_headers = {**headers, **decision_headers(self._record.decision)}
        raw = [(name.encode(), value.encode()) for name, value in all_headers.items()]
        return {"type": "http.response.start", "status": 200, "headers": raw}

    async def _fail(self, failure: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the error: as an HTTP status while nothing was sent, as a last event after that."""
        if not isinstance(failure, ExpertError | ServiceError):
            log.error("unexpected_error", error=type(failure).__name__, at=place_of(failure))
        error = service_error(failure)
        decision = self._record.decision
        if decision.reason is Reason.HELD and isinstance(failure, ExpertError) and failure.replaceable:
            error.message += (
                f" A tool call of {decision.expert} is open, so nobody else was asked: "
                "try again, or name an expert."
            )
        status = 200 if self._sent else error.status
        await self._lifecycle.finish(self._record, "error", status, error_code=error.code)
        if self._sent:
            last = raw_bytes(self._present().error(error))
            await send({"type": "http.response.body", "body": last, "more_body": False})
            return
        error.headers |= decision_headers(self._record.decision)
        response = error_response(error, scope["path"], self._record.chat.request_id)
        await response(scope, receive, send)
