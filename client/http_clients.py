"""The two clients: one transport that blocks and one that is awaited, under the same calls.

httpx2 does both, imports quickly, and comes with LangGraph anyway.
"""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, Self, TypeVar

import httpx2

from client.calls import Api
from client.chat import ChatEvent, ChatEventReader, Messages
from client.errors import ApiBadReply, ApiError, ApiTimeout, ApiUnreachable
from client.exchange import Awaiting, Blocking, Call, HttpReply, HttpRequest

T = TypeVar("T")

KEEPALIVE_S = 4.0
"""Shorter than uvicorn's 5 s, so that we never write into a connection the server is just closing."""
FAILURES = (httpx2.HTTPError, httpx2.InvalidURL)


class Client(Api, Blocking):
    """A client of one API for programs without an event loop; threads may share it.

    `with Client(url) as api: print(api.chat("Why is the sky blue?").text)`
    """

    def _connect(self) -> None:
        self._http = httpx2.Client(**_options(self))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def run(self, call: Call[T]) -> T:
        try:
            request = next(call)
            while True:
                time.sleep(request.after_s)
                try:
                    reply = self._send(request)
                except ApiError as error:
                    request = call.throw(error)
                else:
                    request = call.send(reply)
        except StopIteration as done:
            result: T = done.value
            return result

    @contextmanager
    def stream_chat(
        self, messages: Messages, *, model: str = "coterie", **fields: Any
    ) -> Iterator[Iterator[ChatEvent]]:
        """The answer to `messages` as it comes: `with api.stream_chat("Hello") as events`.

        Entering waits for the beginning of the answer, leaving early stops the expert. Raises ApiError also
        in the middle: the API's own error event, silence, or a stream that ends before the answer does.
        """
        response: httpx2.Response = self.run(self._opening(messages, model, fields)).stream
        try:
            yield self._events(response)
        finally:
            response.close()

    def _events(self, response: httpx2.Response) -> Iterator[ChatEvent]:
        reader = ChatEventReader()
        try:
            for piece in response.iter_bytes():
                yield from reader.feed(piece)
                if reader.done:
                    return
        except FAILURES as error:
            raise _failure(error, self.root) from error
        yield from reader.close()

    def _send(self, request: HttpRequest) -> HttpReply:
        started = time.perf_counter()
        try:
            response = self._http.send(_prepared(self, self._http, request), stream=True)
            if request.is_stream and _is_event_stream(response):
                return HttpReply(response.status_code, response.headers, b"", stream=response)
            try:
                content = response.read()
            finally:
                response.close()
        except FAILURES as error:
            raise _failure(error, self.root) from error
        return HttpReply(response.status_code, response.headers, content, time.perf_counter() - started)


class AsyncClient(Api, Awaiting):
    """A client of one API for asynchronous programs. Belongs to the event loop that first uses it.

    `async with AsyncClient(url) as api: print((await api.chat("Why is the sky blue?")).text)`
    """

    def _connect(self) -> None:
        self._http = httpx2.AsyncClient(**_options(self))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def run(self, call: Call[T]) -> T:
        try:
            request = next(call)
            while True:
                await asyncio.sleep(request.after_s)
                try:
                    reply = await self._send(request)
                except ApiError as error:
                    request = call.throw(error)
                else:
                    request = call.send(reply)
        except StopIteration as done:
            result: T = done.value
            return result

    @asynccontextmanager
    async def stream_chat(
        self, messages: Messages, *, model: str = "coterie", **fields: Any
    ) -> AsyncIterator[AsyncIterator[ChatEvent]]:
        """As `Client.stream_chat`: `async with api.stream_chat("Hello") as events`."""
        response: httpx2.Response = (await self.run(self._opening(messages, model, fields))).stream
        try:
            async with aclosing(self._events(response)) as events:
                yield events
        finally:
            await response.aclose()

    async def _events(self, response: httpx2.Response) -> AsyncGenerator[ChatEvent, None]:
        reader = ChatEventReader()
        try:
            async for piece in response.aiter_bytes():
                for event in reader.feed(piece):
                    yield event
                if reader.done:
                    return
        except FAILURES as error:
            raise _failure(error, self.root) from error
        for event in reader.close():
            yield event

    async def _send(self, request: HttpRequest) -> HttpReply:
        started = time.perf_counter()
        try:
            response = await self._http.send(_prepared(self, self._http, request), stream=True)
            if request.is_stream and _is_event_stream(response):
                return HttpReply(response.status_code, response.headers, b"", stream=response)
            try:
                content = await response.aread()
            finally:
                await response.aclose()
        except FAILURES as error:
            raise _failure(error, self.root) from error
        return HttpReply(response.status_code, response.headers, content, time.perf_counter() - started)


def _options(api: Api) -> dict[str, Any]:
    limits = httpx2.Limits(
        max_connections=api.connections,
        max_keepalive_connections=api.connections,
        keepalive_expiry=KEEPALIVE_S,
    )
    # Loading certificates takes 50 ms; without any, a connection that would need them is refused.
    plain = api.is_local and api.base.startswith("http:")
    return {
        "headers": api.headers,
        "limits": limits,
        "trust_env": not api.is_local,
        "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True,
        "follow_redirects": True,
    }


def _prepared(api: Api, http: httpx2.Client | httpx2.AsyncClient, request: HttpRequest) -> httpx2.Request:
    timeouts = api.timeouts
    read_s = timeouts.answer_s if request.is_answer else timeouts.page_s
    return http.build_request(
        request.method,
        request.path if "://" in request.path else api.base + request.path,
        params=dict(request.parameters) or None,
        # ASCII: half a surrogate pair, which text from a command line may hold, has no UTF-8.
        content=None if request.body is None else json.dumps(request.body),
        headers={} if request.body is None else {"content-type": "application/json"},
        timeout=httpx2.Timeout(read_s, connect=timeouts.connect_s, pool=None),
    )


def _is_event_stream(response: httpx2.Response) -> bool:
    return response.is_success and response.headers.get("content-type", "").startswith("text/event-stream")


def _failure(error: httpx2.HTTPError | httpx2.InvalidURL, address: str) -> ApiError:
    match error:
        case (
            httpx2.ConnectError()
            | httpx2.ConnectTimeout()
            | httpx2.ProxyError()
            | httpx2.UnsupportedProtocol()
            | httpx2.InvalidURL()
        ):
            reason = f" ({error})" if "SSL" in str(error) else ""
            return ApiUnreachable(f"No API answers at {address}{reason}.")
        case httpx2.TimeoutException():
            return ApiTimeout("The API stopped answering.")
        case httpx2.LocalProtocolError():
            # What it says may hold the key.
            return ApiError("The request cannot be sent: is the key malformed?", code="invalid_request")
        case httpx2.DecodingError() | httpx2.TooManyRedirects():
            return ApiBadReply(f"What answers at {address} is no API ({type(error).__name__}).")
        case _:
            return ApiTimeout("The connection to the API broke off.", code="connection_lost")
