"""/, /healthz, /readyz and /metrics: for supervisors and scrapers, without an API key."""

import asyncio

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from app.api.json import JsonResponse
from app.services import Services

router = APIRouter()


@router.get("/", include_in_schema=False)
async def root() -> Response:
    """For clients that look whether anybody is at their base URL before they ask, as Claude Code does."""
    return JsonResponse({"service": "coterie"})


@router.get("/healthz")
async def healthz() -> Response:
    """The process answers."""
    return JsonResponse({"status": "ok"})


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Whether requests can be answered: the database is there and at least one expert of the composition
    is up, or loaded when it is asked. 503 with the same document when not."""
    services: Services = request.app.state.services
    database = await _database_answers(services)
    experts = {name: status.state for name, status in services.health.statuses().items()}
    composed = services.routing.names.composed
    ready = database and any(experts.get(name) in {"up", "asleep"} for name in composed)
    document = {
        "status": "ready" if ready else "not ready",
        "database": "up" if database else "down",
        "experts": experts,
    }
    return JsonResponse(document, 200 if ready else 503)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus' text format; of several workers the sums, whichever answers."""
    services: Services = request.app.state.services
    if services.worker.count == 1:
        text = services.metrics.text()
    else:
        await services.worker.siblings.ask("gauges")
        text = await asyncio.to_thread(services.metrics.text)
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _database_answers(services: Services) -> bool:
    try:
        async with asyncio.timeout(services.settings.ready_check_s):
            await services.database.ping()
    except (SQLAlchemyError, OSError):  # TimeoutError is an OSError
        return False
    return True
