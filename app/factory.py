"""`create_app`: the ASGI application, its routes on the services of one start."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from importlib import metadata
from typing import Any

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import (
    chat_routes,
    completion_routes,
    decision_routes,
    embedding_routes,
    message_routes,
    model_routes,
    probes,
    reload_route,
    response_routes,
)
from app.api.auth import check_api_key
from app.api.body import body_components
from app.api.direct_routes import DirectRoutes
from app.api.error_handlers import install_error_handlers
from app.api.request_line import RequestLine
from app.api.request_scope import RequestScope
from app.api.schemas import FeedbackBody
from app.dialects.completions import CompletionsBody
from app.dialects.embedding_documents import EmbeddingsBody
from app.dialects.messages_body import MessagesBody, TokenCountBody
from app.dialects.responses_request import InputTokensBody, ResponsesBody
from app.services import Services
from app.serving.chat_body import ChatBody
from app.serving.decision_document import HEADERS
from app.settings import Settings
from app.startup import open_services

GUARDED = (
    chat_routes,
    response_routes,
    message_routes,
    completion_routes,
    embedding_routes,
    model_routes,
    decision_routes,
    reload_route,
)
"""Routes that ask for the caller's key."""


def create_app(
    settings: Settings | None = None,
    *,
    services: Services | None = None,
) -> FastAPI:
    """The service as an ASGI app.

    Everything it needs is opened when the app starts, as `settings` say, unless it is handed over open as
    `services`.
    """
    settings = services.settings if services is not None else settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if services is not None:
            yield
            return
        async with open_services(settings) as opened:
            app.state.services = opened
            yield

    app = _App(title="Coterie", version=version(), lifespan=lifespan, redoc_url=None)
    app.state.settings = settings
    if services is not None:
        app.state.services = services
    guarded = [Depends(check_api_key)]
    for part in GUARDED:
        app.include_router(part.router, dependencies=guarded)
    app.include_router(probes.router)
    install_error_handlers(app)
    return app


class _App(FastAPI):
    """FastAPI behind our own middleware, whose OpenAPI document has the bodies that `read_body` parses."""

    def build_middleware_stack(self) -> ASGIApp:
        settings: Settings = self.state.settings
        app: ASGIApp = DirectRoutes(super().build_middleware_stack(), [part.router for part in GUARDED])
        if settings.origins:
            app = CORSMiddleware(
                app,
                allow_origins=settings.origins,
                allow_methods=["DELETE", "GET", "HEAD", "POST"],
                allow_headers=["*"],
                # A named page may call a service on its user's own machine.
                allow_private_network="*" not in settings.origins,
                expose_headers=["x-request-id", "request-id", "retry-after", *HEADERS],
            )
        return RequestScope(RequestLine(app))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """FastAPI's asks at each request whether anybody traces it: that is settled by the first one."""
        if scope["type"] != "http" or self._is_traced:
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        await self._stack(scope, receive, send)

    @cached_property
    def _is_traced(self) -> bool:
        """Whether an operator has set up OpenTelemetry for the process (`opentelemetry-instrument`)."""
        return self._native_telemetry.enabled()

    @cached_property
    def _stack(self) -> ASGIApp:
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        return self.middleware_stack

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas |= body_components(
            *(ChatBody, CompletionsBody, EmbeddingsBody, FeedbackBody, InputTokensBody),
            *(MessagesBody, ResponsesBody, TokenCountBody),
        )
        return document


def version() -> str:
    """The installed version; a checkout that is not installed has none."""
    try:
        return metadata.version("coterie")
    except metadata.PackageNotFoundError:
        return "0+checkout"
