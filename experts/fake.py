"""A fake expert: an OpenAI-compatible server that streams, fails and stalls on demand, for tests and docs.

Its `Behaviour` is fixed or a function of the request's body, and a body field `fake` overrides single fields
(`{"fake": {"stall_after": 2}}`; Coterie's API passes it on). `app.state.log` counts and keeps the requests.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send


class Died(Exception):
    """Raised inside the server to cut a connection in the middle of an answer."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a request is answered; by default with its last user message.

    `stall_after`, `die_after`, `rubbish_after` (a malformed event) and `error_after` (an error object, as
    vLLM sends) count streamed events; without streaming any value takes effect at once.
    """

    reply: str | None = None
    """The text. None: "<name> heard: <last user message>", or a tool call when tools are given."""
    delay_s: float = 0.0
    """Before the headers."""
    token_delay_s: float = 0.0
    """Before each token."""
    status: int = 200
    """Any other status answers with `error`."""
    error: Mapping[str, Any] | None = None
    stall_after: int | None = None
    die_after: int | None = None
    rubbish_after: int | None = None
    error_after: int | None = None
    confidence: float = 0.9
    """Probability of every token in `logprobs`, 0 < confidence ≤ 1."""
    finish_reason: str = "stop"


Chooser = Callable[[Mapping[str, Any]], Behaviour]


@dataclass(slots=True)
class Log:
    """Chat requests: started = finished + cancelled (the client left early) + in flight."""

    started: int = 0
    finished: int = 0
    cancelled: int = 0
    max_in_flight: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def in_flight(self) -> int:
        return self.started - self.finished - self.cancelled

    @property
    def last(self) -> dict[str, Any]:
        """The last body."""
        return self.bodies[-1]

    async def until(self, holds: Callable[["Log"], bool], timeout_s: float = 5.0) -> None:
        """Wait until `holds(log)`. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            while not holds(self):  # noqa: ASYNC110 - the log is written by another thread's loop
                await asyncio.sleep(0.005)


def scripted(answers: Mapping[str, str], default: Behaviour | None = None) -> Chooser:
    """A chooser of fixed answers by last user message."""
    otherwise = default or Behaviour()

    def choose(body: Mapping[str, Any]) -> Behaviour:
        said = _last_user_text(body)
        return dataclasses.replace(otherwise, reply=answers[said]) if said in answers else otherwise

    return choose


def create_fake_expert(
    behaviour: Behaviour | Chooser | None = None,
    *,
    name: str = "fake",
    models: Sequence[str] = (),
    context_length: int | None = None,
    api_key: str | None = None,
) -> Starlette:
    """The ASGI app. `models`: listed by `/v1/models`, by default `name`; `context_length`: longer requests
    (in words) are rejected as by vLLM; `api_key`: other keys get 401 with the key in the message, as from
    some providers."""
    chat = _Chat(behaviour or Behaviour(), name, context_length, api_key)
    listed = tuple(models) or (name,)

    def list_models(request: Request) -> Response:
        if (refusal := chat.unauthorized(request)) is not None:
            return refusal
        data = [{"id": model, "object": "model", "created": 0, "owned_by": "coterie"} for model in listed]
        return JSONResponse({"object": "list", "data": data})

    def metrics(request: Request) -> Response:
        labels = f'{{model_name="{listed[0]}"}}'
        return PlainTextResponse(
            "# TYPE vllm:num_requests_running gauge\n"
            f"vllm:num_requests_running{labels} {chat.log.in_flight}\n"
            "# TYPE vllm:request_success_total counter\n"
            f"vllm:request_success_total{labels} {chat.log.finished}\n"
        )

    app = Starlette(
        routes=[
            Route("/v1/chat/completions", chat),
            Route("/v1/models", list_models),
            Route("/health", lambda request: Response()),
            Route("/metrics", metrics),
        ]
    )
    app.state.log = chat.log
    return app


class _Chat:
    """`/v1/chat/completions` as a plain ASGI app, to notice disconnects."""

    def __init__(
        self, behaviour: Behaviour | Chooser, name: str, context_length: int | None, api_key: str | None
    ) -> None:
        self.behaviour = behaviour
        self.name = name
        self.context_length = context_length
        self.api_key = api_key
        self.log = Log()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = json.loads(await request.body())
        except ClientDisconnect:
            return
        except ValueError:
            await _refusal(400, "The body is not JSON.")(scope, receive, send)
            return
        self.log.bodies.append(body)
        self.log.headers.append(dict(request.headers))
        self.log.started += 1
        self.log.max_in_flight = max(self.log.max_in_flight, self.log.in_flight)
        complete = False

        async def send_counted(message: Message) -> None:
            """Counts the end before sending it, since the client may ask again at once."""
            nonlocal complete
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                complete = True
                self.log.finished += 1
            await send(message)

        answering = asyncio.ensure_future(self._answer(request, body, send_counted))
        leaving = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            done = answering.done()
            if not complete:
                self.log.finished += done
                self.log.cancelled += not done
            for task in (answering, leaving):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await leaving
        if done:
            answering.result()  # raises `Died`, at which the server cuts the connection

    def unauthorized(self, request: Request) -> Response | None:
        given = request.headers.get("authorization", "")
        if self.api_key is None or given == f"Bearer {self.api_key}":
            return None
        return _refusal(
            401, f"Incorrect API key provided: {given.removeprefix('Bearer ')}.", "invalid_api_key"
        )

    async def _answer(self, request: Request, body: dict[str, Any], send: Send) -> None:
        refusal = self.unauthorized(request) or self._too_long(body)
        behaviour = self.behaviour if isinstance(self.behaviour, Behaviour) else self.behaviour(body)
        if isinstance(body.get("fake"), dict):
            behaviour = dataclasses.replace(behaviour, **body["fake"])
        await asyncio.sleep(behaviour.delay_s)
        if refusal is None and behaviour.status != 200:
            error = behaviour.error or {"message": "The fake expert fails as told.", "type": "server_error"}
            refusal = JSONResponse({"error": error}, status_code=behaviour.status)
        if refusal is not None:
            await refusal(request.scope, request.receive, send)
            return
        reply = _Reply(self.name, body, behaviour)
        if body.get("stream"):
            await _stream(reply, behaviour, send)
        else:
            await _whole(reply, behaviour, request, send)

    def _too_long(self, body: Mapping[str, Any]) -> Response | None:
        if self.context_length is None:
            return None
        asked = body.get("max_completion_tokens") or body.get("max_tokens") or 0
        prompt = _prompt_tokens(body)
        if prompt + asked <= self.context_length:
            return None
        return _refusal(
            400,
            f"This model's maximum context length is {self.context_length} tokens. However, your prompt "
            f"contains {prompt} input tokens and you asked for {asked} more.",
            400,
        )


async def _stream(reply: "_Reply", behaviour: Behaviour, send: Send) -> None:
    headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def say(data: bytes, more: bool = True) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": more})

    for sent, event in enumerate(reply.events()):
        if sent == behaviour.stall_after:
            await asyncio.Event().wait()
        if sent == behaviour.die_after:
            raise Died
        if sent == behaviour.rubbish_after:
            await say(b"data: <html>Bad gateway</html>\n\n")
        if sent == behaviour.error_after:
            message = "EngineCore encountered an issue."
            error = {"message": message, "type": "InternalServerError", "code": 500}
            await say(_event({"error": error}))
        await asyncio.sleep(behaviour.token_delay_s)
        await say(event)
    await say(b"data: [DONE]\n\n", more=False)


async def _whole(reply: "_Reply", behaviour: Behaviour, request: Request, send: Send) -> None:
    if behaviour.stall_after is not None:
        await asyncio.Event().wait()
    if behaviour.die_after is not None:
        raise Died
    await asyncio.sleep(behaviour.token_delay_s * len(reply.pieces))
    response: Response = JSONResponse(reply.whole())
    if behaviour.rubbish_after is not None:
        response = PlainTextResponse("<html>Bad gateway</html>")
    await response(request.scope, request.receive, send)


class _Reply:
    """An answer, as a whole or as events."""

    def __init__(self, name: str, body: Mapping[str, Any], behaviour: Behaviour) -> None:
        self.body = body
        self.id = f"chatcmpl-fake-{time.time_ns():x}"
        self.tool_calls = _tool_calls(body) if behaviour.reply is None else []
        text = "" if self.tool_calls else behaviour.reply
        if text is None:
            text = f"{name} heard: {_last_user_text(body)}"
            if body.get("response_format", {}).get("type") in ("json_object", "json_schema"):
                text = json.dumps({"answer": text})
        self.pieces = _pieces(text)
        self.finish_reason = behaviour.finish_reason
        if self.tool_calls:
            self.finish_reason = "tool_calls"
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        if limit and len(self.pieces) > limit:
            self.pieces = self.pieces[:limit]
            self.finish_reason = "length"
        self.choices = int(body.get("n") or 1)
        self.logprob = math.log(behaviour.confidence) if body.get("logprobs") else None

    def whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self.pieces)}
        if self.tool_calls:
            message |= {"content": None, "tool_calls": self.tool_calls}
        end = {"logprobs": self._logprobs(self.pieces), "finish_reason": self.finish_reason}
        choices = [{"index": index, "message": message, **end} for index in range(self.choices)]
        return self._envelope("chat.completion") | {"choices": choices, "usage": self._usage()}

    def events(self) -> Iterator[bytes]:
        yield self._chunk({"role": "assistant", "content": ""})
        for index, call in enumerate(self.tool_calls):
            yield self._chunk({"tool_calls": [{"index": index, **call}]})
        for piece in self.pieces:
            yield self._chunk({"content": piece}, piece=piece)
        yield self._chunk({}, finish_reason=self.finish_reason)
        if (self.body.get("stream_options") or {}).get("include_usage"):
            envelope = self._envelope("chat.completion.chunk")
            yield _event(envelope | {"choices": [], "usage": self._usage()})

    def _chunk(
        self, delta: dict[str, Any], piece: str | None = None, finish_reason: str | None = None
    ) -> bytes:
        logprobs = self._logprobs([piece]) if piece is not None else None
        choices = [
            {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
            for index in range(self.choices)
        ]
        return _event(self._envelope("chat.completion.chunk") | {"choices": choices})

    def _envelope(self, kind: str) -> dict[str, Any]:
        model = self.body.get("model", "fake")
        return {"id": self.id, "object": kind, "created": int(time.time()), "model": model}

    def _logprobs(self, pieces: Sequence[str]) -> dict[str, Any] | None:
        if self.logprob is None:
            return None
        tokens = [
            {"token": piece, "logprob": self.logprob, "bytes": list(piece.encode()), "top_logprobs": []}
            for piece in pieces
        ]
        return {"content": tokens, "refusal": None}

    def _usage(self) -> dict[str, int]:
        prompt, answer = _prompt_tokens(self.body), len(self.pieces)
        return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def _refusal(status: int, message: str, code: str | int | None = None) -> Response:
    error = {"message": message, "type": "BadRequestError", "param": None, "code": code}
    return JSONResponse({"error": error}, status_code=status)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _pieces(text: str) -> list[str]:
    """Tokens: words with the blank before them."""
    words = text.split(" ")
    return [word if index == 0 else f" {word}" for index, word in enumerate(words)] if text else []


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _last_user_text(body: Mapping[str, Any]) -> str:
    said = [message for message in body.get("messages", []) if message.get("role") == "user"]
    return _text(said[-1].get("content")) if said else ""


def _prompt_tokens(body: Mapping[str, Any]) -> int:
    return sum(len(_text(message.get("content")).split()) + 1 for message in body.get("messages", []))


def _tool_calls(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A call of the first tool with the user's text, unless its result is there."""
    tools, messages = body.get("tools") or [], body.get("messages") or [{}]
    if not tools or body.get("tool_choice") == "none" or messages[-1].get("role") == "tool":
        return []
    arguments = json.dumps({"text": _last_user_text(body)})
    called = {"name": tools[0]["function"]["name"], "arguments": arguments}
    return [{"id": "call_fake_0", "type": "function", "function": called}]


@dataclass(frozen=True, slots=True)
class RunningFake:
    """A fake expert that serves on loopback."""

    endpoint: str
    """Base URL: "http://127.0.0.1:PORT/v1"."""
    port: int
    log: Log


@contextlib.contextmanager
def run_fake_expert(
    behaviour: Behaviour | Chooser | None = None,
    *,
    port: int = 0,
    name: str = "fake",
    models: Sequence[str] = (),
    context_length: int | None = None,
    api_key: str | None = None,
) -> Iterator[RunningFake]:
    """Serve a fake expert in a thread, on `port` or a free one. Raises `OSError` when the port is taken,
    `RuntimeError` when the server does not start in 10 s."""
    app = create_fake_expert(
        behaviour, name=name, models=models, context_length=context_length, api_key=api_key
    )
    with serve_in_thread(app, port) as bound:
        yield RunningFake(f"http://127.0.0.1:{bound}/v1", bound, app.state.log)


@contextlib.contextmanager
def serve_in_thread(app: Any, port: int = 0) -> Iterator[int]:
    """Serve any ASGI app on loopback in a thread with uvicorn; yields the port."""
    import uvicorn

    class ThreadServer(uvicorn.Server):
        async def main_loop(self) -> None:
            while not self.should_exit:  # noqa: ASYNC110 - another thread sets it; uvicorn looks every 0.1 s
                await asyncio.sleep(0.02)

    # asyncio disables Nagle's algorithm (40 ms per reply on loopback) only for an explicit protocol number.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        config = uvicorn.Config(
            app, log_config=None, log_level="critical", timeout_graceful_shutdown=1, lifespan="off", ws="none"
        )
        server = ThreadServer(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="fake-expert", daemon=True)
        thread.start()
        try:
            deadline = time.monotonic() + 10
            while not server.started:
                if not thread.is_alive() or time.monotonic() > deadline:
                    raise RuntimeError("the fake expert did not start")
                time.sleep(0.005)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(timeout=10)
    finally:
        listener.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m experts.fake`: serve one fake expert until Ctrl-C."""
    import uvicorn

    parser = argparse.ArgumentParser(prog="python -m experts.fake", description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8199)
    parser.add_argument("--name", default="fake", help="what the fake calls itself in its answers")
    parser.add_argument("--reply", help="answer this instead of repeating the question")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before the first byte")
    parser.add_argument("--token-delay", type=float, default=0.0, help="seconds before each word")
    parser.add_argument("--context-length", type=int, help="refuse longer requests, in words")
    given = parser.parse_args(arguments)
    behaviour = Behaviour(reply=given.reply, delay_s=given.delay, token_delay_s=given.token_delay)
    app = create_fake_expert(behaviour, name=given.name, context_length=given.context_length)
    uvicorn.run(app, host=given.host, port=given.port, log_level="warning", lifespan="off", ws="none")


if __name__ == "__main__":
    main()
