"""/v1/chat/completions and /v1/route."""

import asyncio
import time
from contextlib import aclosing, suppress
from typing import Any
from uuid import uuid4

import structlog
from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.body import body_schema, read_body
from app.api.error_handlers import error_document, error_response, service_error
from app.api.event_stream import DONE, ends_stream, event_bytes, with_routing
from app.api.json import JsonResponse
from app.errors import ServiceError, place_of
from app.services import Services
from app.serving.chat_body import ChatBody
from app.serving.decision_document import decision_document, decision_headers
from app.serving.prompting import Reading
from app.serving.records import AnswerRecord
from app.serving.request_parsing import Caller, routing_request
from app.strategies.strategy_registry import StrategyError
from app.strategies.strategy_service import StrategyRun
from experts.client import ReplyStream
from experts.errors import ExpertError
from routers.decision import SINGLE, Classification, Decision

router = APIRouter()
log = structlog.get_logger(__name__)

CLIENT_CLOSED = 499
"""What nginx notes for a client that went away; nobody receives it."""


@router.post("/v1/chat/completions", openapi_extra=body_schema(ChatBody))
async def chat_completions(request: Request) -> Response:
    """Answer a chat with the expert that is best for it. OpenAI's request and response; the decision is
    in `routing` of the body, of the first streamed event, and in `x-coterie-*` headers."""
    started = time.perf_counter()
    services: Services = request.app.state.services
    body, document = await read_body(request, ChatBody)
    decision, reading = await _decide(services, request, body, explore=True)
    record = AnswerRecord(
        decision,
        reading=reading,
        request_id=request.state.request_id,
        model=body.model or "",
        stream=bool(body.stream),
        api_key=request.state.api_key,
        conversation=body.routing.conversation,
        messages=document["messages"] if services.settings.store_prompts else None,
        started=started,
    )
    run = None
    if decision.strategy != SINGLE:
        run = await services.strategies.start(record, body, document, services.routing.policy.generalist)
    services.begin(record)
    return Answer(services, record, document) if run is None else StrategyAnswer(services, record, run)


@router.post("/v1/route", openapi_extra=body_schema(ChatBody))
async def route(request: Request) -> Response:
    """The decision for a chat, without an answer. It is not stored: nobody was answered."""
    services: Services = request.app.state.services
    body, _ = await read_body(request, ChatBody)
    decision, reading = await _decide(services, request, body)
    if decision.strategy != SINGLE:
        with suppress(StrategyError):
            services.strategies.options_for(decision.strategy, body.routing.options)
    expert = services.registry.get(decision.expert)
    await services.prompting.preview(expert, reading)
    document = decision_document(decision, used=reading.use_of(expert.name))
    return JsonResponse(document, headers=decision_headers(decision))


async def _decide(
    services: Services, request: Request, body: ChatBody, *, explore: bool = False
) -> tuple[Decision, Reading]:
    options = body.routing
    api_key: str | None = request.state.api_key
    current = await services.conversations.current_expert(
        api_key, options.conversation, options.previous_decision
    )
    routed = routing_request(
        body,
        services.routing.names,
        Caller(api_key, dict(request.headers)),
        request_id=f"dec_{uuid4().hex}",
        current_expert=current,
    )
    known = await services.routing.route(routed)
    decision = known.decision
    sure = decision.classification is not Classification.UNCLASSIFIED
    reading = Reading(routed.turns, known.embedding, decision.category if sure else None)
    if explore:
        decision = services.exploration.apply(decision, in_conversation=current is not None)
    return decision, reading


class _Watched(Response):
    """Asks experts while it watches the client: one that goes away cancels the expert's work.

    Nothing is sent before the expert's first byte, so that a failure until then still has its status.
    """

    def __init__(self, services: Services, record: AnswerRecord) -> None:
        super().__init__()
        self._services = services
        self._record = record
        self._sent = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = asyncio.create_task(self._work(scope, receive, send))
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
                await self._services.finish(
                    self._record, "cancelled", CLIENT_CLOSED, error_code="client_closed_request"
                )
        if not work.cancelled():
            work.result()

    async def _work(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self._record.stream:
                await self._stream(send)
            else:
                await self._complete(scope, receive, send)
            await self._answered()
        except (ExpertError, ServiceError) as error:
            await self._fail(error, scope, receive, send)
        except Exception as error:
            log.error("unexpected_error", error=type(error).__name__, at=place_of(error))
            await self._fail(error, scope, receive, send)

    async def _complete(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError

    async def _stream(self, send: Send) -> None:
        raise NotImplementedError

    async def _answered(self) -> None:
        """The client has its answer."""

    async def _fail(self, failure: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the error: as a status while nothing was sent, as a last event after that."""
        error = service_error(failure)
        status = 200 if self._sent else error.status
        await self._services.finish(self._record, "error", status, error_code=error.code, usage=self._spent())
        if self._sent:
            await send(
                {"type": "http.response.body", "body": event_bytes(error_document(error)), "more_body": False}
            )
            return
        error.headers |= decision_headers(self._record.decision)
        await error_response(error)(scope, receive, send)

    def _spent(self) -> dict[str, Any] | None:
        """Tokens that were used although there is no answer."""
        return None


class Answer(_Watched):
    """The short path: one expert's own answer, its bytes passed on as they come."""

    def __init__(self, services: Services, record: AnswerRecord, body: dict[str, Any]) -> None:
        super().__init__(services, record)
        self._body = body

    async def _answered(self) -> None:
        await self._services.shadow.offer(self._record.decision, self._body, self._record.reading)

    async def _complete(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = await self._services.answering.complete(self._record, self._body)
        record = self._record
        self._services.began_to_answer(record)
        await self._services.finish(record, "ok", 200, usage=reply.body.get("usage"))
        document = {**reply.body, "routing": record.document}
        response = JsonResponse(document, headers=decision_headers(record.decision))
        self._sent = True
        await response(scope, receive, send)

    async def _stream(self, send: Send) -> None:
        record = self._record
        async with self._services.answering.stream(record, self._body) as stream:
            decision = record.decision
            first = with_routing(await anext(stream), record.document)
            self._services.began_to_answer(record)
            self._sent = True
            await send(_stream_start(decision))
            await self._pass_on(first, stream, send)
            async for events in stream:
                await self._pass_on(events, stream, send)
        await self._services.finish(record, "ok", 200, usage=stream.usage)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pass_on(self, events: bytes, stream: ReplyStream, send: Send) -> None:
        if ends_stream(events):
            # A client stops reading at [DONE] and may ask for its decision at once: write it before.
            await self._services.finish(self._record, "ok", 200, usage=stream.usage)
        await send({"type": "http.response.body", "body": events, "more_body": True})


class StrategyAnswer(_Watched):
    """What a strategy of several experts makes of the request: its trace is in `routing`, whole in the
    body and in the stream's last event with JSON."""

    def __init__(self, services: Services, record: AnswerRecord, run: StrategyRun) -> None:
        super().__init__(services, record)
        self._run = run

    def _spent(self) -> dict[str, Any] | None:
        return self._run.usage

    async def _complete(self, scope: Scope, receive: Receive, send: Send) -> None:
        document = await self._run.whole()
        record = self._record
        self._services.began_to_answer(record)
        await self._services.finish(record, "ok", 200, usage=self._run.usage)
        response = JsonResponse(
            {**document, "routing": record.document}, headers=decision_headers(record.decision)
        )
        self._sent = True
        await response(scope, receive, send)

    async def _stream(self, send: Send) -> None:
        record = self._record
        async with aclosing(self._run.chunks()) as chunks:
            async for chunk in chunks:
                if not self._sent:
                    self._services.began_to_answer(record)
                    self._sent = True
                    await send(_stream_start(record.decision))
                    chunk = {**chunk, "routing": record.document}
                await send({"type": "http.response.body", "body": event_bytes(chunk), "more_body": True})
        await self._services.finish(record, "ok", 200, usage=self._run.usage)
        last = event_bytes(self._run.closing()) + DONE
        await send({"type": "http.response.body", "body": last, "more_body": False})


def _stream_start(decision: Decision) -> dict[str, Any]:
    headers = {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        "x-accel-buffering": "no",
        **decision_headers(decision),
    }
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": 200, "headers": raw}


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
