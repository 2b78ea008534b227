"""The routes that read their request themselves, answered without FastAPI's stack.

Its router, the dependencies that it solves and its own middleware take longer than all that an answer of one
expert needs of this service. The routes stay FastAPI's too: it documents them.
"""

import inspect
from collections.abc import Iterable

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.auth import check_api_key
from app.api.error_handlers import ANSWERED_ERRORS, respond, service_error


class DirectRoutes:
    """ASGI middleware: answers the POST routes of `routers` whose endpoints take the request alone; all else
    goes on to `app`."""

    def __init__(self, app: ASGIApp, routers: Iterable[APIRouter]) -> None:
        self._app = app
        self._routes = {
            route.path: route
            for router in routers
            for route in router.routes
            if isinstance(route, APIRoute) and _is_direct(route)
        }

    @property
    def paths(self) -> Iterable[str]:
        """Of the routes that it answers."""
        return self._routes.keys()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if route is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive, send)
        try:
            await check_api_key(request)
            response = await route.endpoint(request)
        except ANSWERED_ERRORS as error:
            response = respond(request, service_error(error))
        await response(scope, receive, send)


def _is_direct(route: APIRoute) -> bool:
    return route.methods == {"POST"} and list(inspect.signature(route.endpoint).parameters) == ["request"]
