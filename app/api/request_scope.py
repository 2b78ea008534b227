"""Request ids, access log and metrics of HTTP requests, and the handler of last resort."""

import re
import time
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.error_handlers import error_response, service_error, speaks_messages
from app.errors import place_of
from app.telemetry.logs import begin_request
from app.telemetry.metrics import Metrics
from base.ids import new_id

GIVEN_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})

log = structlog.get_logger("app.access")


class RequestScope:
    """ASGI middleware: gives each request an id (the client's own `x-request-id` when it is a plain one),
    answers it in `x-request-id`, logs one line and counts. An exception that nobody foresaw becomes a 500
    here and its text stays out of logs and answers, since it may repeat a prompt."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        begin_request(request_id)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
                if speaks_messages(scope["path"]):  # where Anthropic's clients look for it
                    headers.append((b"request-id", request_id.encode()))
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            log.error("unexpected_error", error=type(error).__name__, at=place_of(error))
            if status == 0:
                failure = error_response(service_error(error), scope["path"], request_id)
                await failure(scope, receive, send_with_id)
        finally:
            self._note(scope, status, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = _route(scope)
        metrics: Metrics = scope["app"].state.services.metrics
        metrics.http_requests.labels(route, scope["method"], str(status)).inc()
        metrics.http_seconds.labels(route).observe(seconds)
        level = log.debug if route in QUIET_ROUTES else log.info
        level(
            "request",
            method=scope["method"],
            route=route,
            status=status,
            ms=round(seconds * 1000, 2),
            **({"error_code": code} if (code := scope["state"].get("error_code")) else {}),
        )


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = value.decode("latin-1")
            if GIVEN_ID.fullmatch(given):
                return str(given)
    return new_id("req_")


def _route(scope: Scope) -> str:
    """The route's template, not the path: paths hold ids, and anyone can make up new ones."""
    route: Any = scope.get("route")
    return getattr(route, "path", "unmatched")
