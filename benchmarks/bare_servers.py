"""The least that a front end and its expert can be in Python: ASGI functions without a framework.

`expert` answers every request alike, whole or as a stream; `forward` hands each request on to the URL in
BARE_EXPERT and its answer back, and does nothing else. Served by Granian for `benchmarks.front_end`.
"""

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import ClientSession

CHUNKS = 20
"""Chunks of a streamed answer."""
REPLY = "It is as you say."

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_ENVELOPE = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "stub"}
_USAGE = {"prompt_tokens": 12, "completion_tokens": CHUNKS, "total_tokens": 12 + CHUNKS}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    document = {**_ENVELOPE, "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(document).encode() + b"\n\n"


_MESSAGE = {"role": "assistant", "content": REPLY}
_WHOLE = json.dumps(
    {
        **_ENVELOPE,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": _MESSAGE, "finish_reason": "stop"}],
        "usage": _USAGE,
    }
).encode()
_USAGE_CHUNK = {**_ENVELOPE, "object": "chat.completion.chunk", "choices": [], "usage": _USAGE}
_STREAM = (
    *(_chunk({"role": "assistant", "content": f"word{number} "}) for number in range(CHUNKS - 1)),
    _chunk({}, "stop"),
    b"data: " + json.dumps(_USAGE_CHUNK).encode() + b"\n\n",
    b"data: [DONE]\n\n",
)
_MODELS = json.dumps({"object": "list", "data": [{"id": "stub", "object": "model"}]}).encode()


async def expert(scope: Message, receive: Receive, send: Send) -> None:
    """An expert whose answers cost as little as can be."""
    if scope["type"] != "http":
        return
    if scope["method"] == "GET":
        await _whole(send, _MODELS)
        return
    asked = json.loads(await _body(receive))
    if not asked.get("stream"):
        await _whole(send, _WHOLE)
        return
    await _start(send, b"text/event-stream")
    for event in _STREAM:
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


_session: "ClientSession | None" = None


async def forward(scope: Message, receive: Receive, send: Send) -> None:
    """A front end that hands on what comes, unread."""
    import aiohttp

    global _session
    if scope["type"] != "http":
        return
    if scope["method"] == "GET":
        await _whole(send, _MODELS)
        return
    if _session is None:
        connector = aiohttp.TCPConnector(limit=1024, keepalive_timeout=4.0)
        _session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
    url, headers = f"{os.environ['BARE_EXPERT']}/chat/completions", {"content-type": "application/json"}
    async with _session.post(url, data=await _body(receive), headers=headers) as response:
        if response.content_type != "text/event-stream":
            await _whole(send, await response.read())
            return
        await _start(send, b"text/event-stream")
        async for piece in response.content.iter_any():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _start(send: Send, kind: bytes, length: int | None = None) -> None:
    headers = [(b"content-type", kind)]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _whole(send: Send, body: bytes) -> None:
    await _start(send, b"application/json", len(body))
    await send({"type": "http.response.body", "body": body, "more_body": False})
