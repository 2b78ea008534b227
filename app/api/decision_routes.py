"""/v1/decisions and /v1/feedback: what was decided, and what people thought of it."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.api.body import body_schema, read_body
from app.api.json import JsonResponse
from app.api.schemas import FeedbackBody
from app.errors import ServiceError
from app.services import Services
from app.serving.decision_document import feedback_document, shadow_document, stored_document
from app.serving.shadow import SHADOW_PREFIX
from app.storage.queries import (
    Cursor,
    Filters,
    decision_by_id,
    decisions_page,
    feedback_of,
    shadow_by_id,
    shadows_of,
)
from app.storage.rows import DecisionRow, FeedbackRow, NewRow
from base.ids import new_id
from base.strategy_graph import dot, mermaid

router = APIRouter()

RUNNING = "running"
READ_YOUR_WRITES_S = 2.0
"""How long a read waits for rows that are still in the writer's queue."""

Form = Literal["dot", "mermaid"]


@router.get("/v1/decisions")
async def decisions(
    request: Request,
    filters: Annotated[Filters, Depends()],
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[str | None, Query(max_length=256)] = None,
) -> Response:
    """Decisions, newest first. `after` takes the `next_cursor` of the page before; the other parameters
    filter by equality, `since` and `until` by time."""
    services: Services = request.app.state.services
    cursor = None if after is None else Cursor.decode(after)
    await _all_written(services)
    async with services.database.session() as session:
        rows, following = await decisions_page(session, filters, limit=limit, after=cursor)
        feedback, shadows = await _notes(session, [row.id for row in rows])
    return JsonResponse(
        {
            "object": "list",
            "data": [stored_document(row, feedback[row.id], shadows[row.id]) for row in rows],
            "has_more": following is not None,
            "next_cursor": None if following is None else following.encode(),
        }
    )


@router.get("/v1/decisions/{decision_id}")
async def decision(request: Request, decision_id: str) -> Response:
    """One decision; `status` is `running` while its answer is on the way."""
    services: Services = request.app.state.services
    if (running := await _running(services, decision_id)) is not None:
        return JsonResponse(running)
    row = await _row_of(services, decision_id)
    if services.recorder.waiting_row(DecisionRow, decision_id) is not None:
        # The database does not answer, perhaps: what is in memory is shown all the same.
        return JsonResponse(stored_document(row))
    async with services.database.session() as session:
        feedback, shadows = await _notes(session, [decision_id])
    return JsonResponse(stored_document(row, feedback[decision_id], shadows[decision_id]))


@router.get("/v1/decisions/{decision_id}/graph")
async def graph(request: Request, decision_id: str, form: Form = "dot") -> Response:
    """The strategy's graph with the path that the request took, as text: Graphviz's DOT, or Mermaid's with
    `?form=mermaid`. 404 for a decision that one expert answered."""
    services: Services = request.app.state.services
    running = await _running(services, decision_id)
    trace = (await _row_of(services, decision_id)).trace if running is None else running["trace"]
    if trace is None:
        raise ServiceError(
            404, "no_graph", "One expert answered this request; there is no graph.", param="decision_id"
        )
    text = mermaid(trace) if form == "mermaid" else dot(trace)
    return Response(text, media_type="text/plain; charset=utf-8")


def running_document(services: Services, decision_id: str) -> dict[str, Any] | None:
    """A decision whose answer is on the way in this process."""
    record = services.lifecycle.in_flight.get(decision_id)
    if record is None:
        return None
    unknown = {"http_status": None, "latency_ms": None, "usage": None}
    return stored_document(DecisionRow(**record.columns(RUNNING, 0))) | unknown


async def _running(services: Services, decision_id: str) -> dict[str, Any] | None:
    """A decision whose answer is on the way, in any worker. What has ended when this was asked is written, or
    waits to be."""
    own = running_document(services, decision_id)
    return own or next(iter(await services.worker.siblings.ask("running", decision_id)), None)


async def _all_written(services: Services) -> None:
    """Wait, for a moment, until all rows of all workers are in the database."""
    await asyncio.gather(
        services.recorder.written(READ_YOUR_WRITES_S), services.worker.siblings.ask("written")
    )


async def _row_of(services: Services, decision_id: str) -> DecisionRow:
    """The decision of an answer that has ended. Raises ServiceError (404) when there is none."""
    await _all_written(services)
    row = services.recorder.waiting_row(DecisionRow, decision_id)
    if row is None:
        async with services.database.session() as session:
            row = await decision_by_id(session, decision_id)
    if row is None:
        raise _no_decision()
    return row


@router.post("/v1/feedback", status_code=201, openapi_extra=body_schema(FeedbackBody))
async def feedback(request: Request) -> Response:
    """Rate the answer of a decision: `rating` -1, 0 or 1, or `score` 0..1, and a comment if there is one."""
    services: Services = request.app.state.services
    body, _ = await read_body(request, FeedbackBody)
    if not await _exists(services, body.decision_id):
        raise _no_decision()
    columns = {
        "id": new_id("fb_"),
        "decision_id": body.decision_id,
        "created_at": datetime.now(UTC),
        "api_key": request.state.api_key,
        "rating": body.rating,
        "score": body.score,
        "comment": _storable(body.comment),
    }
    await services.recorder.submit(NewRow(FeedbackRow, columns))
    return JsonResponse(feedback_document(FeedbackRow(**columns)), 201)


async def _notes(
    session: AsyncSession, decision_ids: list[str]
) -> tuple[dict[str, list[FeedbackRow]], dict[str, list[dict[str, Any]]]]:
    """The feedback of each decision, and its shadow answers as documents with their own feedback."""
    shadows = await shadows_of(session, decision_ids)
    rated = [shadow.id for each in shadows.values() for shadow in each]
    feedback = await feedback_of(session, [*decision_ids, *rated])
    documents = {
        decision_id: [shadow_document(shadow, feedback[shadow.id]) for shadow in each]
        for decision_id, each in shadows.items()
    }
    return feedback, documents


async def _exists(services: Services, decision_id: str) -> bool:
    if decision_id in services.lifecycle.in_flight or services.recorder.waiting_row(DecisionRow, decision_id):
        return True
    if await _is_stored(services, decision_id):
        return True
    if services.worker.count == 1:
        return False
    if await _running(services, decision_id) is not None:
        return True
    await _all_written(services)
    return await _is_stored(services, decision_id)


async def _is_stored(services: Services, decision_id: str) -> bool:
    async with services.database.session() as session:
        if decision_id.startswith(SHADOW_PREFIX):
            return await shadow_by_id(session, decision_id) is not None
        return await decision_by_id(session, decision_id) is not None


def _no_decision() -> ServiceError:
    return ServiceError(404, "decision_not_found", "There is no decision with this id.", param="decision_id")


def _storable(text: str | None) -> str | None:
    """`text` as every database stores it: no NUL, no lone surrogate."""
    if text is None:
        return None
    cleaned: Any = text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
    return str(cleaned)
