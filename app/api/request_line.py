"""The request line as clients write it: whole URLs, doubled and trailing slashes, `HEAD` for `GET`. Knows no
route."""

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SLASHES = re.compile("/{2,}")
_ORIGIN = re.compile(r"https?://[^/]*", re.IGNORECASE)
"""What stands before the path where a client takes us for a proxy."""


class RequestLine:
    """ASGI middleware: `/v1//models/` is `/v1/models`, and `HEAD` is answered like `GET` without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = plain_path(scope["path"])
        if path != scope["path"]:
            scope["path"] = path
            scope["raw_path"] = plain_path(scope.get("raw_path", b"").decode("latin-1")).encode("latin-1")
        if scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        # A copy, since the server needs to know that this was HEAD; the log wants the route.
        get = {**scope, "method": "GET"}
        try:
            await self._app(get, receive, send_head)
        finally:
            scope["route"] = get.get("route")


def plain_path(path: str) -> str:
    """`path` without an origin before it, doubled slashes, and a slash at its end."""
    if path.startswith("/") and "//" not in path and not path.endswith("/"):
        return path
    if origin := _ORIGIN.match(path):
        path = path[origin.end() :]
    return SLASHES.sub("/", path).rstrip("/") or "/"
