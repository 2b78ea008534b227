"""A server that speaks Anthropic's native messages protocol, as far as a chat needs it.

Written from the protocol's description (https://docs.anthropic.com/en/api/messages and
.../messages-streaming), so that the LiteLLM adapter is tested against something that is not OpenAI's
protocol. What it does is told by the model's name: `claude-talks` answers, `claude-overloaded` and others
fail in the ways of `TROUBLES`.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from experts.fake import serve_in_thread

KEY = "anthropic-test-key-0123456789"

TROUBLES: Mapping[str, tuple[int, str, str]] = {
    "claude-too-long": (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
    "claude-rejects": (400, "invalid_request_error", "temperature: range is 0..1"),
    "claude-unknown": (404, "not_found_error", "model: claude-unknown"),
    "claude-limited": (429, "rate_limit_error", "This request would exceed your rate limit."),
    "claude-broken": (500, "api_error", "Internal server error"),
    "claude-overloaded": (529, "overloaded_error", "Overloaded"),
}


@dataclass(slots=True)
class Seen:
    """What the server received, and how many streams their reader left early."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    finished: int = 0
    left: int = 0

    async def until_left(self, count: int) -> None:
        async with asyncio.timeout(5):
            while self.left < count:  # noqa: ASYNC110 - written by another thread's loop
                await asyncio.sleep(0.01)


@dataclass(frozen=True, slots=True)
class RunningAnthropic:
    base: str
    seen: Seen


@contextlib.contextmanager
def run_anthropic_server() -> Iterator[RunningAnthropic]:
    """Serve it in a thread on a free port of loopback."""
    seen = Seen()

    async def messages(request: Request) -> Response:
        return await _messages(request, seen)

    app = Starlette(routes=[Route("/v1/messages", messages, methods=["POST"])])
    with serve_in_thread(app) as port:
        yield RunningAnthropic(f"http://127.0.0.1:{port}", seen)


async def _messages(request: Request, seen: Seen) -> Response:
    body = await request.json()
    seen.bodies.append(body)
    seen.headers.append(dict(request.headers))
    given = request.headers.get("x-api-key")
    if given != KEY:
        return _error(401, "authentication_error", f"invalid x-api-key {given}")
    if wrong := _wrong(request, body):
        return _error(400, "invalid_request_error", wrong)
    model = body["model"]
    if model in TROUBLES:
        return _error(*TROUBLES[model])
    if model == "claude-rubbish":
        return Response("<html>Bad gateway</html>", media_type="text/html")
    if model == "claude-silent":
        await asyncio.sleep(5)
    if body.get("stream"):
        return StreamingResponse(_stream(body, seen), media_type="text/event-stream")
    seen.finished += 1
    return JSONResponse(_message(body) | {"content": _content(body), "stop_reason": _stop_reason(body)})


def _wrong(request: Request, body: Mapping[str, Any]) -> str | None:
    """What the native protocol refuses: the things an OpenAI client would get wrong."""
    if "anthropic-version" not in request.headers:
        return "anthropic-version: header is required"
    for name in ("model", "max_tokens", "messages"):
        if name not in body:
            return f"{name}: Field required"
    roles = [message["role"] for message in body["messages"]]
    if not roles or not set(roles) <= {"user", "assistant"} or roles[0] != "user":
        return f"messages: unexpected roles {roles}"
    if any("input_schema" not in tool for tool in body.get("tools", [])):
        return "tools.0.input_schema: Field required"
    return None


def _said(body: Mapping[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    parts = [part.get("text") or str(part.get("content", "")) for part in content]
    return " ".join(parts)


def _content(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    results = [p for p in _blocks(body["messages"][-1]) if p.get("type") == "tool_result"]
    if body.get("tools") and not results:
        name = body["tools"][0]["name"]
        return [
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "toolu_01", "name": name, "input": {"text": _said(body)}},
        ]
    heard = f"result {results[0]['tool_use_id']}" if results else _said(body)
    return [{"type": "text", "text": f"Claude heard: {heard}"}]


def _blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    return message["content"] if isinstance(message["content"], list) else []


def _stop_reason(body: Mapping[str, Any]) -> str:
    return "tool_use" if _content(body)[-1]["type"] == "tool_use" else "end_turn"


def _message(body: Mapping[str, Any]) -> dict[str, Any]:
    usage = {"input_tokens": 12, "output_tokens": 7}
    return {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


async def _stream(body: Mapping[str, Any], seen: Seen) -> AsyncIterator[bytes]:
    try:
        async for name, data in _events(body):
            yield f"event: {name}\ndata: {json.dumps({'type': name} | data)}\n\n".encode()
    except (asyncio.CancelledError, GeneratorExit):
        seen.left += 1
        raise
    seen.finished += 1


async def _events(body: Mapping[str, Any]) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    yield "message_start", {"message": _message(body)}
    yield "ping", {}
    for index, block in enumerate(_content(body)):
        if block["type"] == "text":
            yield "content_block_start", {"index": index, "content_block": {"type": "text", "text": ""}}
            words = block["text"].split(" ")
            for number, word in enumerate(words):
                text = word if number == 0 else f" {word}"
                if number == 1:
                    match body["model"]:
                        case "claude-stalls":
                            await asyncio.sleep(30)
                        case "claude-dies":
                            raise ConnectionResetError
                        case "claude-fails-midway":
                            error = {"type": "overloaded_error", "message": "Overloaded"}
                            yield "error", {"error": error}
                            return
                await asyncio.sleep(0.02)
                yield "content_block_delta", {"index": index, "delta": {"type": "text_delta", "text": text}}
        else:
            yield "content_block_start", {"index": index, "content_block": block | {"input": {}}}
            arguments = json.dumps(block["input"])
            for piece in (arguments[:5], arguments[5:]):
                delta = {"type": "input_json_delta", "partial_json": piece}
                yield "content_block_delta", {"index": index, "delta": delta}
        yield "content_block_stop", {"index": index}
    ending: dict[str, Any] = {"stop_reason": _stop_reason(body), "stop_sequence": None}
    yield "message_delta", {"delta": ending, "usage": {"output_tokens": 7}}
    yield "message_stop", {}


def _error(status: int, kind: str, message: str) -> Response:
    return JSONResponse({"type": "error", "error": {"type": kind, "message": message}}, status_code=status)
