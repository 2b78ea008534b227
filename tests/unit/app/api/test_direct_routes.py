"""Routes that read their request themselves do without FastAPI's stack; all other requests go on to it."""

from collections.abc import Iterable

import pytest
from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from app.api.direct_routes import DirectRoutes
from app.errors import ServiceError
from app.factory import GUARDED, create_app
from app.settings import Settings

router = APIRouter()


@router.post("/direct")
async def direct(request: Request) -> Response:
    if await request.body() == b"refuse":
        raise ServiceError(418, "teapot", "No coffee here.")
    return PlainTextResponse("direct")


@router.post("/of/{name}")
async def with_parameter(request: Request, name: str) -> Response:
    raise AssertionError(name)


async def _ask(method: str, path: str, body: bytes = b"") -> tuple[int, bytes, Scope]:
    """The status, the body of the answer, and the scope as the request left it."""
    sent: list[Message] = []
    app = create_app(Settings())
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [],
        "query_string": b"",
        "state": {"request_id": "r"},
        "app": app,
    }

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("behind")(scope, receive, send)

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await DirectRoutes(behind, [router])(scope, receive, send)
    return sent[0]["status"], b"".join(each.get("body", b"") for each in sent[1:]), scope


async def test_a_route_that_reads_its_request_is_answered_at_once() -> None:
    status, body, scope = await _ask("POST", "/direct")
    assert (status, body) == (200, b"direct")
    assert scope["route"].path == "/direct"  # by which it is logged and counted


async def test_its_errors_are_answered_and_named_in_the_log() -> None:
    status, body, scope = await _ask("POST", "/direct", b"refuse")
    assert status == 418
    assert b"No coffee here." in body
    assert scope["state"]["error_code"] == "teapot"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/direct"), ("POST", "/of/anybody"), ("POST", "/nowhere")]
)
async def test_everything_else_goes_on(method: str, path: str) -> None:
    assert (await _ask(method, path))[1] == b"behind"


def test_the_routes_that_answer_chats_are_direct() -> None:
    def paths(routers: Iterable[APIRouter]) -> set[str]:
        return set(DirectRoutes(create_app(Settings()), routers).paths)

    answering = {"/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"}
    assert answering <= paths(part.router for part in GUARDED)
