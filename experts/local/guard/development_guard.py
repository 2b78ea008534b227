"""An ASGI middleware for vLLM servers: all but the endpoints of inference and health ask for a key. The
standard library only, since vLLM's environment loads it.

vLLM's own `--api-key` guards paths under `/v1` and few others; with VLLM_SERVER_DEV_MODE=1 anybody who
reaches the port may put the server to sleep, or run a method in its workers (`/collective_rpc`). Here what is
not known to be harmless is refused.
"""

import hmac
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

KEY = "DEVELOPMENT_ENDPOINT_KEY"
OPEN = frozenset({"/health", "/ping", "/version", "/load", "/metrics", "/tokenize", "/detokenize"})
INFERENCE = "/v1/"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class DevelopmentGuard:
    """Answers 401 in the app's place unless the request has the key as its bearer token."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._key = os.environ.get(KEY, "")
        if not self._key:
            raise RuntimeError(f"{KEY} is not set")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"} or self._may(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"error": "Unauthorized"}'})

    def _may(self, scope: Scope) -> bool:
        path = str(scope["path"])
        if path in OPEN or (path.startswith(INFERENCE) and scope["type"] == "http"):
            return True
        given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        expected = f"Bearer {self._key}".encode()
        return len(given) == 1 and hmac.compare_digest(given[0], expected)
