"""Both clients over real sockets: what they send, what they retry, what they raise."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from base.usage import TokenUsage
from client import (
    ApiBadReply,
    ApiError,
    ApiRefused,
    ApiTimeout,
    ApiUnreachable,
    AsyncClient,
    Client,
    ClientTimeouts,
    Delta,
    RetryPolicy,
    base_of,
)
from experts.fake import serve_in_thread

NOBODY = "http://127.0.0.1:9"
"""The discard port: refused at once."""
QUICK = RetryPolicy(attempts=3, first_wait_s=0.01, longest_wait_s=0.02)


@dataclass
class Server:
    """Gives the answers in turn, the last one again and again; keeps what it was asked."""

    url: str = ""
    answers: list[Response] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        self.asked.append((request.url.path, dict(request.query_params), json.loads(body or b"null")))
        self.keys.append(request.headers.get("authorization"))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    app = Starlette(routes=[Route("/{path:path}", server.answer, methods=["GET", "POST"])])
    with serve_in_thread(app) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server


Call = Callable[[Any], Any]
Ask = Callable[..., Any]


def blocking(url: str, call: Call, **options: Any) -> Any:
    with Client(url, **options) as client:
        return call(client)


def awaiting(url: str, call: Call, **options: Any) -> Any:
    async def scene() -> Any:
        async with AsyncClient(url, **options) as client:
            found = call(client)
            return await found if isawaitable(found) else found

    return asyncio.run(scene())


@pytest.fixture(params=[blocking, awaiting], ids=["Client", "AsyncClient"])
def ask(request: pytest.FixtureRequest) -> Ask:
    found: Ask = request.param
    return found


def completion(text: str, **fields: Any) -> Response:
    message = {"role": "assistant", "content": text}
    return JSONResponse({"choices": [{"message": message, "finish_reason": "stop"}], **fields})


def refusal(status: int, headers: dict[str, str] | None = None, **fields: Any) -> Response:
    error = {"message": "No.", "type": "invalid_request_error", "param": None, "code": "refused", **fields}
    return JSONResponse({"error": error}, status, headers=headers)


def test_a_question_is_answered_with_who_said_it_and_what_it_took(server: Server, ask: Ask) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 1}
    server.answers = [completion("Blue.", usage=usage, routing={"id": "d1", "expert": "small", "new": 1})]
    said = ask(server.url, lambda api: api.chat("What colour?", temperature=0, seed=7), key="secret")
    assert (said.text, said.finish_reason, said.expert) == ("Blue.", "stop", "small")
    assert said.usage == TokenUsage(3, 1)
    assert said.decision.document() == {"id": "d1", "expert": "small", "new": 1}
    assert server.keys == ["Bearer secret"]
    assert server.asked == [
        (
            "/v1/chat/completions",
            {},
            {
                "model": "coterie",
                "messages": [{"role": "user", "content": "What colour?"}],
                "stream": False,
                "temperature": 0,
                "seed": 7,
            },
        )
    ]


def test_a_server_that_is_not_coterie_says_neither_expert_nor_decision(server: Server, ask: Ask) -> None:
    server.answers = [completion("4")]
    said = ask(server.url, lambda api: api.chat("2+2"))
    assert (said.expert, said.decision, said.usage.prompt) == (None, None, None)


def test_what_may_pass_is_tried_again_as_long_as_the_server_wishes(server: Server, ask: Ask) -> None:
    server.answers = [refusal(429, {"retry-after": "0.03"}), refusal(503), completion("At last.")]
    begun = time.monotonic()
    assert ask(server.url, lambda api: api.chat("?"), retries=QUICK).text == "At last."
    assert time.monotonic() - begun > 0.03
    assert len(server.asked) == 3


@pytest.mark.parametrize(("status", "times"), [(503, 3), (400, 1)])
def test_an_error_is_raised_when_trying_again_is_over_or_of_no_use(
    server: Server, ask: Ask, status: int, times: int
) -> None:
    server.answers = [refusal(status, code="expert_busy", param="model")]
    with pytest.raises(ApiRefused, match=r"No\.") as caught:
        ask(server.url, lambda api: api.chat("?"), retries=QUICK)
    error = caught.value
    assert (error.status, error.code, error.param) == (status, "expert_busy", "model")
    assert error.hint
    assert len(server.asked) == times


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Response("<html>Bad gateway</html>", 502), ApiRefused),
        (Response("<html>Hello</html>"), ApiBadReply),
        (JSONResponse({"choices": []}), ApiBadReply),
        (JSONResponse({"choices": [{"message": {"content": [1]}}]}), ApiBadReply),
        (completion("Hi", routing={"expert": 3}), ApiBadReply),
        (Response("x", headers={"content-encoding": "gzip"}), ApiBadReply),
    ],
)
def test_what_is_no_coterie_api_is_told_by_its_kind(
    server: Server, ask: Ask, answer: Response, kind: type[ApiError]
) -> None:
    server.answers = [answer]
    with pytest.raises(kind) as caught:
        ask(server.url, lambda api: api.chat("?"))
    assert type(caught.value) is kind


def test_nobody_at_the_address_is_told_with_the_address(ask: Ask) -> None:
    with pytest.raises(ApiUnreachable, match=NOBODY) as caught:
        ask(NOBODY, lambda api: api.experts())
    assert "coterie serve" in caught.value.hint


def test_a_key_of_any_letters_is_sent_and_a_malformed_one_is_not_shown(server: Server, ask: Ask) -> None:
    server.answers = [completion("Hi")]
    ask(server.url, lambda api: api.chat("?"), key="schlüssel")
    assert server.keys == ["Bearer schlüssel".encode().decode("latin-1")]
    with pytest.raises(ApiError) as caught:
        ask(server.url, lambda api: api.chat("?"), key="secret\n")
    assert "secret" not in str(caught.value)


def test_decisions_are_read_page_by_page_up_to_the_limit(server: Server, ask: Ask) -> None:
    def page(first: int, count: int, following: str | None) -> Response:
        rows = [{"id": f"d{first + number}", "expert": "small"} for number in range(count)]
        return JSONResponse({"data": rows, "next_cursor": following})

    server.answers = [page(0, 200, "a b"), page(200, 50, "more")]
    found = ask(server.url, lambda api: api.decisions(250, expert="small", category=None))
    assert [each.id for each in found] == [f"d{number}" for number in range(250)]
    assert [query for _, query, _ in server.asked] == [
        {"expert": "small", "limit": "200"},
        {"expert": "small", "limit": "50", "after": "a b"},
    ]


def test_a_service_that_is_not_ready_says_so_without_an_error(server: Server, ask: Ask) -> None:
    server.answers = [JSONResponse({"status": "not ready", "database": "down", "experts": {}}, 503)]
    found = ask(server.url, lambda api: api.readiness())
    assert not found.ready
    assert server.asked[0][0] == "/readyz"


def test_names_alone_and_nulls_are_read_as_the_documents_they_stand_for(server: Server, ask: Ask) -> None:
    server.answers = [JSONResponse({"digest": "abc", "categories": ["smalltalk", "law"], "policy": None})]
    composition = ask(server.url, lambda api: api.composition())
    assert composition.policy == {}
    assert [composition.title_of(each.name) for each in composition.categories] == ["Small talk", "Law"]


def stream(*events: str) -> Response:
    return StreamingResponse(iter([f"data: {each}\n\n" for each in events]), media_type="text/event-stream")


def blocking_stream(client: Client) -> list[Any]:
    with client.stream_chat("?") as events:
        return list(events)


async def awaited_stream(client: AsyncClient) -> list[Any]:
    async with client.stream_chat("?") as events:
        return [event async for event in events]


def listen(client: Client | AsyncClient) -> list[Any] | Awaitable[list[Any]]:
    return blocking_stream(client) if isinstance(client, Client) else awaited_stream(client)


def test_a_stream_is_tried_again_until_it_begins(server: Server, ask: Ask) -> None:
    server.answers = [
        refusal(503),
        stream('{"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}', "[DONE]"),
    ]
    assert ask(server.url, listen, retries=QUICK)[0] == Delta("Hi")
    path, _, body = server.asked[-1]
    assert path == "/v1/chat/completions"
    assert body["stream"] and body["stream_options"] == {"include_usage": True}


def test_a_stream_that_is_refused_is_an_error_before_its_first_event(server: Server, ask: Ask) -> None:
    server.answers = [refusal(400, code="context_length_exceeded")]
    with pytest.raises(ApiRefused) as caught:
        ask(server.url, listen)
    assert caught.value.code == "context_length_exceeded"


def test_a_whole_answer_is_no_stream(server: Server, ask: Ask) -> None:
    server.answers = [completion("All at once.")]
    with pytest.raises(ApiBadReply, match="no event stream"):
        ask(server.url, listen)


@contextmanager
def stalling(first: bytes) -> Iterator[str]:
    """A server whose stream says `first` and nothing more."""

    async def stall() -> Any:
        yield first
        await asyncio.sleep(5)

    async def answer(_: Request) -> Response:
        return StreamingResponse(stall(), media_type="text/event-stream")

    app = Starlette(
        routes=[Route("/{path:path}", answer, methods=["POST"])],
    )
    with serve_in_thread(app) as port:
        yield f"http://127.0.0.1:{port}"


def test_silence_ends_a_stream(ask: Ask) -> None:
    first = b'data: {"choices": [{"delta": {"content": "So far"}}]}\n\n'
    with stalling(first) as url, pytest.raises(ApiTimeout):
        ask(url, listen, timeouts=ClientTimeouts(answer_s=0.2))


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://host:8000", "http://host:8000/v1"),
        ("http://host:8000/", "http://host:8000/v1"),
        ("http://host:8000/v1/", "http://host:8000/v1"),
        ("https://host/openai", "https://host/openai"),
    ],
)
def test_the_address_may_be_written_as_clients_write_it(given: str, base: str) -> None:
    assert base_of(given) == base


@pytest.mark.parametrize("url", ["host:8000", "ftp://host", "http://", "http://host:port", "http://[::1"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ApiError, match="is no address"):
        Client(url)


def test_a_call_that_the_api_does_not_have_is_no_method() -> None:
    assert "health" in (Client.experts.__doc__ or "")
    with pytest.raises(TypeError), Client(NOBODY) as client:
        client.feedback("d1", stars=5)  # type: ignore[call-arg]
