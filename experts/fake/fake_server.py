"""The fake expert as an ASGI app: its endpoints, and how it plays a behaviour."""

import asyncio
import base64
import contextlib
import dataclasses
import hashlib
import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from experts.expert import DialectName
from experts.fake.answers import Answer
from experts.fake.behaviour import Behaviour, Chooser, Died, Log
from experts.fake.chat_requests import as_chat_request, prompt_tokens
from experts.fake.faults import BOMB_BYTES, FAULTS, Fault
from experts.fake.sleep_mode import FakeSleep
from experts.fake.wire_formats import WIRE_FORMATS, event

EMBEDDING_SIZE = 16
"""Of its embeddings, unless `dimensions` says otherwise."""

_NO_FAULT = Fault("none")


def create_fake_expert(
    behaviour: Behaviour | Chooser | None = None,
    *,
    name: str = "fake",
    models: Sequence[str] = (),
    context_length: int | None = None,
    api_key: str | None = None,
    sleep: FakeSleep | None = None,
) -> Starlette:
    """The ASGI app. `models`: listed by `/v1/models`, by default `name`; `context_length`: longer requests
    (in words) are rejected as by vLLM; `api_key`: other keys get 401 with the key in the message, as from
    some providers; `sleep`: how its sleep mode is, by default awake."""
    mode = sleep or FakeSleep()
    server = _Server(behaviour or Behaviour(), name, tuple(models) or (name,), context_length, api_key, mode)
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", _Answers(server, "chat")),
            Route("/v1/completions", _Answers(server, "completions")),
            Route("/v1/responses", _Answers(server, "responses")),
            Route("/v1/messages", _Answers(server, "messages")),
            Route("/v1/messages/count_tokens", server.count_tokens, methods=["POST"]),
            Route("/v1/embeddings", server.embed, methods=["POST"]),
            Route("/tokenize", server.tokenize, methods=["POST"]),
            Route("/v1/models", server.list_models),
            Route("/health", lambda request: Response()),
            Route("/metrics", server.metrics),
            Route("/sleep", mode.sleep, methods=["POST"]),
            Route("/wake_up", mode.wake_up, methods=["POST"]),
            Route("/collective_rpc", mode.collective_rpc, methods=["POST"]),
            Route("/is_sleeping", mode.is_sleeping),
        ]
    )
    app.state.log, app.state.sleep = server.log, mode
    return app


class _Server:
    """What all endpoints share, and those that give no answers."""

    def __init__(
        self,
        behaviour: Behaviour | Chooser,
        name: str,
        models: tuple[str, ...],
        context_length: int | None,
        api_key: str | None,
        sleep: FakeSleep,
    ) -> None:
        self.behaviour = behaviour
        self.sleep = sleep
        self.name = name
        self.models = models
        self.context_length = context_length
        self.api_key = api_key
        self.log = Log()

    def behaviour_for(self, body: Mapping[str, Any]) -> Behaviour:
        behaviour = self.behaviour if isinstance(self.behaviour, Behaviour) else self.behaviour(body)
        if isinstance(body.get("fake"), dict):
            behaviour = dataclasses.replace(behaviour, **body["fake"])
        return behaviour

    def refusal(self, request: Request, body: Mapping[str, Any], dialect: DialectName) -> Response | None:
        return self.unauthorized(request, dialect) or self.sleep.refusal() or self._too_long(body, dialect)

    def unauthorized(self, request: Request, dialect: DialectName = "chat") -> Response | None:
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.api_key is None or self.api_key in (key, request.headers.get("x-api-key")):
            return None
        return refused(dialect, 401, f"Incorrect API key provided: {key}.", "invalid_api_key")

    def _too_long(self, body: Mapping[str, Any], dialect: DialectName) -> Response | None:
        if self.context_length is None:
            return None
        wanted = body.get("max_completion_tokens") or body.get("max_tokens") or 0
        prompt = prompt_tokens(body)
        if prompt + wanted <= self.context_length:
            return None
        return refused(
            dialect,
            400,
            f"This model's maximum context length is {self.context_length} tokens. However, your prompt "
            f"contains {prompt} input tokens and you asked for {wanted} more.",
            400,
        )

    def list_models(self, request: Request) -> Response:
        if (refusal := self.unauthorized(request)) is not None:
            return refusal
        data = [
            {"id": model, "object": "model", "created": 0, "owned_by": "coterie"} for model in self.models
        ]
        return JSONResponse({"object": "list", "data": data})

    def metrics(self, request: Request) -> Response:
        labels = f'{{model_name="{self.models[0]}"}}'
        return PlainTextResponse(
            "# TYPE vllm:num_requests_running gauge\n"
            f"vllm:num_requests_running{labels} {self.log.in_flight}\n"
            "# TYPE vllm:num_requests_waiting gauge\n"
            f"vllm:num_requests_waiting{labels} 0\n"
            "# TYPE vllm:kv_cache_usage_perc gauge\n"
            f"vllm:kv_cache_usage_perc{labels} 0\n"
            "# TYPE vllm:request_success_total counter\n"
            f"vllm:request_success_total{labels} {self.log.finished}\n"
        )

    async def count_tokens(self, request: Request) -> Response:
        """Anthropic's."""
        self.log.counted += 1
        return JSONResponse(
            {"input_tokens": prompt_tokens(as_chat_request("messages", await request.json()))}
        )

    async def tokenize(self, request: Request) -> Response:
        """vLLM's: of chat messages, or of a `prompt`."""
        self.log.counted += 1
        body = await request.json()
        count = prompt_tokens(as_chat_request("completions" if "prompt" in body else "chat", body))
        most = self.context_length or 4096
        return JSONResponse({"count": count, "max_model_len": most, "tokens": list(range(count))})

    async def embed(self, request: Request) -> Response:
        body = await request.json()
        self.log.note(request.url.path, body, request.headers)
        self.log.finished += 1
        if (refusal := self.unauthorized(request)) is not None:
            return refusal
        given = body.get("input")
        inputs = given if isinstance(given, list) and not all(isinstance(i, int) for i in given) else [given]
        size = body.get("dimensions") or EMBEDDING_SIZE
        vectors = [embedding(json.dumps(each), size) for each in inputs]
        shown: list[Any] = list(vectors)
        if body.get("encoding_format") == "base64":
            shown = [base64.b64encode(struct.pack(f"<{size}f", *vector)).decode() for vector in vectors]
        data = [{"object": "embedding", "index": at, "embedding": each} for at, each in enumerate(shown)]
        words = sum(len(str(each).split()) for each in inputs)
        usage = {"prompt_tokens": words, "total_tokens": words}
        return JSONResponse(
            {"object": "list", "data": data, "model": body.get("model") or self.name, "usage": usage}
        )


class _Answers:
    """The endpoint of one dialect as a plain ASGI app, to notice disconnects."""

    def __init__(self, server: _Server, dialect: DialectName) -> None:
        self._server = server
        self._dialect: DialectName = dialect
        self._format = WIRE_FORMATS[dialect]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = json.loads(await request.body())
        except ClientDisconnect:
            return
        except ValueError:
            await refused(self._dialect, 400, "The body is not JSON.")(scope, receive, send)
            return
        log = self._server.log
        log.note(request.url.path, body, request.headers)
        complete = False

        async def send_counted(message: Message) -> None:
            """Counts the end before sending it, since the client may ask again at once."""
            nonlocal complete
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                complete = True
                log.finished += 1
            await send(message)

        answering = asyncio.ensure_future(self._answer(request, body, send_counted))
        leaving = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            done = answering.done()
            if not complete:
                log.finished += done
                log.cancelled += not done
            for task in (answering, leaving):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await leaving
        if done:
            answering.result()  # raises `Died`, at which the server cuts the connection

    async def _answer(self, request: Request, given: dict[str, Any], send: Send) -> None:
        body = as_chat_request(self._dialect, given)
        response = self._server.refusal(request, body, self._dialect)
        behaviour = self._server.behaviour_for(body)
        fault = _NO_FAULT if behaviour.case is None else FAULTS[behaviour.case]
        await asyncio.sleep(behaviour.delay_s)
        if response is None and behaviour.status != 200:
            error = behaviour.error or {"message": "The fake expert fails as told.", "type": "server_error"}
            response = JSONResponse(self._format.error(error), status_code=behaviour.status)
        if response is None and fault.reply is not None:
            told = fault.reply()
            response = Response(told.body, told.status, dict(told.headers), told.content_type)
        answer = Answer(self._server.name, body, behaviour)
        streams = (body.get("stream") or fault.always_streams) and not fault.ignores_stream
        if response is None and not streams:
            response = await self._whole(answer, behaviour, fault)
        if response is not None:
            response.headers.update(behaviour.headers)
            await response(request.scope, request.receive, send)
            return
        await self._stream(answer, behaviour, fault, send)

    async def _stream(self, answer: Answer, behaviour: Behaviour, fault: Fault, send: Send) -> None:
        headers = {"content-type": "text/event-stream; charset=utf-8", **behaviour.headers}
        compressor = _Compressor(fault.encoding)
        if compressor.name:
            headers["content-encoding"] = compressor.name
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})

        async def say(data: bytes) -> None:
            packed = compressor.compress(data)
            await send({"type": "http.response.body", "body": packed, "more_body": True})

        for sent, each in enumerate(_played(self._format.events(answer), fault)):
            if sent == behaviour.stall_after:
                await asyncio.Event().wait()
            if sent == behaviour.die_after:
                raise Died
            if sent == behaviour.rubbish_after:
                await say(b"data: <html>Bad gateway</html>\n\n")
            if sent == behaviour.error_after:
                message = "EngineCore encountered an issue."
                error = {"message": message, "type": "InternalServerError", "code": 500}
                await say(event(self._format.error(error)))
            await asyncio.sleep(behaviour.token_delay_s)
            await say(each)
        await send({"type": "http.response.body", "body": compressor.end(), "more_body": False})

    async def _whole(self, answer: Answer, behaviour: Behaviour, fault: Fault) -> Response:
        if behaviour.stall_after is not None:
            await asyncio.Event().wait()
        if behaviour.die_after is not None:
            raise Died
        await asyncio.sleep(behaviour.token_delay_s * len(answer.pieces))
        if behaviour.rubbish_after is not None:
            return PlainTextResponse("<html>Bad gateway</html>")
        if fault.encoding is None:
            return JSONResponse(self._format.whole(answer))
        compressor = _Compressor(fault.encoding)
        body = json.dumps(self._format.whole(answer)).encode()
        return Response(
            compressor.compress(body) + compressor.end(),
            media_type="application/json",
            headers={"content-encoding": compressor.name},
        )


def _played(events: Iterator[bytes], fault: Fault) -> Iterator[bytes]:
    return events if fault.events is None else fault.events(events)


class _Compressor:
    """Compresses a body piece by piece. `name` is the content encoding that it is told by."""

    def __init__(self, encoding: str | None) -> None:
        self.name = (encoding or "").split("-")[0]
        self._bomb = encoding == "gzip-bomb"
        self._zlib: Any = None
        if encoding in {"gzip", "gzip-bomb", "deflate"}:
            self._zlib = zlib.compressobj(1, wbits=15 if encoding == "deflate" else 31)

    def compress(self, data: bytes) -> bytes:
        if self._zlib is None:
            return data
        blanks = b""
        if self._bomb:
            blanks, self._bomb = self._zlib.compress(b" " * BOMB_BYTES), False
        return bytes(blanks + self._zlib.compress(data) + self._zlib.flush(zlib.Z_SYNC_FLUSH))

    def end(self) -> bytes:
        return b"" if self._zlib is None else bytes(self._zlib.flush())


def embedding(text: str, size: int) -> list[float]:
    """A unit vector that depends on `text` alone."""
    seed = hashlib.shake_256(text.encode()).digest(2 * size)
    vector = [value - 32767.5 for value in struct.unpack(f"<{size}H", seed)]
    length = sum(value * value for value in vector) ** 0.5
    return [value / length for value in vector]


def refused(dialect: DialectName, status: int, message: str, code: str | int | None = None) -> Response:
    error: dict[str, Any] = {"message": message, "type": "BadRequestError", "param": None, "code": code}
    if dialect == "messages":
        error = {"type": "invalid_request_error", "message": message}
    return JSONResponse(WIRE_FORMATS[dialect].error(error), status_code=status)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
