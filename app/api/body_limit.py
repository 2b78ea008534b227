"""The bound on a request's body, whatever its content-length says."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.error_handlers import error_response
from app.errors import ServiceError

DRAIN_TIMES = 8
"""A refused body is still read up to so many times the limit, so that its sender sees the answer."""
DRAIN_S = 10.0


class BodyTooLarge(ServiceError):
    """More bytes than the service takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            413,
            "request_too_large",
            f"The body is larger than {limit} bytes, the limit of this service.",
            headers={"connection": "close"},
        )


class BodyLimit:
    """ASGI middleware: refuses larger bodies with 413, by content-length or as they come in."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        error = BodyTooLarge(self._limit)
        if _content_length(scope) > self._limit:
            await _drain(receive, self._limit * DRAIN_TIMES)
            await error_response(error)(scope, receive, send)
            return
        seen = 0

        async def receive_bounded() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > self._limit:
                    if message.get("more_body"):
                        await _drain(receive, self._limit * DRAIN_TIMES)
                    raise error
            return message

        await self._app(scope, receive_bounded, send)


def _content_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            try:
                return int(value)
            except ValueError:
                return 0
    return 0


async def _drain(receive: Receive, limit: int) -> None:
    """Read and forget. Answering before the client has sent everything resets its connection."""
    seen = 0
    try:
        async with asyncio.timeout(DRAIN_S):
            while seen < limit:
                message = await receive()
                seen += len(message.get("body", b""))
                if not message.get("more_body"):
                    return
    except TimeoutError:
        return
