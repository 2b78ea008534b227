"""The one way to ask an expert: a pooled asynchronous client for OpenAI-compatible servers.

Experts of provider `litellm` are asked through `experts.litellm_adapter`, which is imported only then,
and look the same to the caller. Knows nothing of categories, decisions or our own API.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experts.admission import Admission
from experts.credentials import read_api_key
from experts.errors import ExpertBadReply, ExpertError, ExpertTimeout, ExpertUnavailable
from experts.expert import Expert
from experts.expert_replies import Reply, ReplyStream, check_completion, refusal
from experts.outgoing import outgoing_body

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

__all__ = ["ClientLimits", "ExpertClient", "Reply", "ReplyStream"]


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Bounds of one client. How many requests an endpoint gets at once is each expert's `max_in_flight`."""

    max_connections: int = 1024
    keepalive_s: float = 4.0
    """Shorter than uvicorn's 5 s, so that we never write into a connection the server is just closing."""
    max_reply_bytes: int = 32 * 2**20
    max_event_bytes: int = 4 * 2**20
    max_error_bytes: int = 64 * 2**10
    probe_s: float = 5.0
    """How long `models` waits for an answer."""


class ExpertClient:
    """Asks experts. Belongs to one event loop; connections are opened on first use, `aclose` closes them."""

    def __init__(self, *, limits: ClientLimits | None = None, admission: Admission | None = None) -> None:
        self.limits = limits or ClientLimits()
        self.admission = admission or Admission()
        self._session: ClientSession | None = None
        self._closed = False
        self._used_litellm = False

    async def __aenter__(self) -> "ExpertClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection; requests in flight fail. Safe to repeat."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
        if self._used_litellm:
            from experts import litellm_adapter

            await litellm_adapter.aclose()

    async def prepare(self, experts: Iterable[Expert]) -> None:
        """Load what these experts need that takes seconds to load, before the first request waits for it.
        Raises `ExpertUnavailable` when it is not installed."""
        for expert in experts:
            if expert.provider == "litellm":
                from experts import litellm_adapter

                self._used_litellm = True
                await litellm_adapter.load(expert)
                return

    async def complete(
        self, expert: Expert, body: Mapping[str, Any], *, request_id: str | None = None
    ) -> Reply:
        """Ask for a whole answer. `body` is a chat completion request; the expert's model name, default
        sampling and system prompt are filled in. Raises the tree of `experts.errors`."""
        async with self.admission.slot(expert):
            out = outgoing_body(expert, body, stream=False)
            await self.prepare([expert])
            try:
                async with asyncio.timeout(expert.timeouts.total_s):
                    if expert.provider == "litellm":
                        return await self._litellm_complete(expert, out)
                    return await self._complete(expert, out, request_id)
            except TimeoutError:
                raise ExpertTimeout(
                    expert.name, f"Expert {expert.name} did not answer in {expert.timeouts.total_s:g} s."
                ) from None

    @contextlib.asynccontextmanager
    async def stream(
        self, expert: Expert, body: Mapping[str, Any], *, request_id: str | None = None
    ) -> AsyncIterator[ReplyStream]:
        """Ask for a streamed answer. Entering waits for the first event, and raises what went wrong before
        it; leaving early closes the connection, at which the expert stops working."""
        async with self.admission.slot(expert):
            out = outgoing_body(expert, body, stream=True)
            await self.prepare([expert])
            deadline = time.monotonic() + expert.timeouts.total_s
            opened = self._litellm_stream if expert.provider == "litellm" else self._stream
            async with opened(expert, out, deadline, request_id) as stream:
                yield stream

    async def models(self, expert: Expert) -> tuple[str, ...]:
        """The names that the expert's server says it serves: a cheap sign of life.
        Raises `ExpertError`; is not counted by admission."""
        try:
            async with asyncio.timeout(self.limits.probe_s):
                async with self._opened(expert, "GET", "/models") as response:
                    payload = await self._json(expert, response)
        except TimeoutError:
            raise ExpertTimeout(
                expert.name, f"Expert {expert.name} gave no sign of life in {self.limits.probe_s:g} s."
            ) from None
        listed = payload.get("data") if isinstance(payload, dict) else None
        if not isinstance(listed, list):
            raise ExpertBadReply(expert.name, f"Expert {expert.name} does not list its models.")
        return tuple(str(model["id"]) for model in listed if isinstance(model, dict) and "id" in model)

    async def _complete(self, expert: Expert, out: dict[str, Any], request_id: str | None) -> Reply:
        async with self._opened(expert, "POST", "/chat/completions", out, request_id) as response:
            payload = await self._json(expert, response)
            body = check_completion(expert, payload, read_api_key(expert))
            return Reply(response.status, body, _headers(response))

    @contextlib.asynccontextmanager
    async def _stream(
        self, expert: Expert, out: dict[str, Any], deadline: float, request_id: str | None
    ) -> AsyncIterator[ReplyStream]:
        first_byte_s = expert.timeouts.first_byte_s
        begun = time.monotonic()
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(min(first_byte_s, expert.timeouts.total_s)):
                    response = await stack.enter_async_context(
                        self._opened(expert, "POST", "/chat/completions", out, request_id)
                    )
            except TimeoutError:
                raise ExpertTimeout(
                    expert.name, f"Expert {expert.name} sent no first byte in {first_byte_s:g} s."
                ) from None
            stream = ReplyStream(
                expert,
                await stack.enter_async_context(contextlib.aclosing(_chunks(expert, response))),
                headers=_headers(response),
                deadline=deadline,
                max_event_bytes=self.limits.max_event_bytes,
                secret=read_api_key(expert),
            )
            await stream.begin(max(0.001, first_byte_s - (time.monotonic() - begun)))
            yield stream

    async def _litellm_complete(self, expert: Expert, out: dict[str, Any]) -> Reply:
        from experts import litellm_adapter

        return Reply(200, check_completion(expert, await litellm_adapter.complete(expert, out)), {})

    @contextlib.asynccontextmanager
    async def _litellm_stream(
        self, expert: Expert, out: dict[str, Any], deadline: float, request_id: str | None
    ) -> AsyncIterator[ReplyStream]:
        from experts import litellm_adapter

        async with contextlib.aclosing(litellm_adapter.stream(expert, out)) as chunks:
            stream = ReplyStream(expert, chunks, headers={}, deadline=deadline)
            await stream.begin(expert.timeouts.first_byte_s)
            yield stream

    @contextlib.asynccontextmanager
    async def _opened(
        self,
        expert: Expert,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> AsyncIterator["ClientResponse"]:
        """A response with status 2xx, its body unread; every other status is raised as what it stands for.
        A body that was not read to its end costs the connection, which is what stops the expert."""
        import aiohttp

        secret = read_api_key(expert)
        headers = {"accept-encoding": "identity"}
        if secret is not None:
            headers["authorization"] = f"Bearer {secret.get_secret_value()}"
        if request_id is not None:
            headers["x-request-id"] = request_id
        data = None
        if body is not None:
            headers["content-type"] = "application/json"
            data = json.dumps(body, separators=(",", ":")).encode()
        # Waiting for a pooled connection is bounded by admission; bytes by our own timeouts.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=expert.timeouts.connect_s)
        try:
            response = await self._open_session().request(
                method,
                f"{expert.endpoint}{path}",
                data=data,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(expert, error) from error
        try:
            if not 200 <= response.status < 300:
                raise refusal(expert, response.status, await self._error(response), secret)
            yield response
        finally:
            # Back to the pool when it was read to its end, cut otherwise.
            response.release() if response.content.at_eof() else response.close()

    async def _json(self, expert: Expert, response: "ClientResponse") -> Any:
        read = bytearray()
        async for chunk in _chunks(expert, response):
            read += chunk
            if len(read) > self.limits.max_reply_bytes:
                raise ExpertBadReply(
                    expert.name, f"Expert {expert.name} sent more than {self.limits.max_reply_bytes} bytes."
                )
        try:
            return json.loads(read)
        except ValueError as error:
            raise ExpertBadReply(
                expert.name, f"Expert {expert.name} sent a reply that is not JSON."
            ) from error

    async def _error(self, response: "ClientResponse") -> Any:
        """The body of a refusal, parsed if it can be; never a failure of its own."""
        import aiohttp

        read = bytearray()
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(self.limits.probe_s):
                async for chunk in response.content.iter_any():
                    read += chunk
                    if len(read) > self.limits.max_error_bytes:
                        break
        try:
            return json.loads(read)
        except ValueError:
            return None

    def _open_session(self) -> "ClientSession":
        import aiohttp

        if self._closed:
            raise RuntimeError("the expert client is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self.limits.max_connections, keepalive_timeout=self.limits.keepalive_s
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


async def _chunks(expert: Expert, response: "ClientResponse") -> AsyncGenerator[bytes]:
    """The body's bytes as they come off the socket. Raises `ExpertUnavailable` when the connection breaks
    before the first of them, `ExpertBadReply` when it breaks later."""
    import aiohttp

    begun = False
    try:
        async for chunk in response.content.iter_any():
            begun = True
            yield chunk
    except (aiohttp.ClientError, OSError) as error:
        if begun:
            raise ExpertBadReply(
                expert.name, f"Expert {expert.name} stopped in the middle of its answer."
            ) from error
        raise _unreachable(expert, error) from error


def _unreachable(expert: Expert, error: Exception) -> ExpertError:
    """Why no answer came, without the address: it may be internal."""
    import aiohttp

    if isinstance(error, aiohttp.ConnectionTimeoutError):
        why = f"took no connection in {expert.timeouts.connect_s:g} s"
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        why = "has a host name that does not resolve"
    elif isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        why = "failed the TLS handshake"
    elif isinstance(error, aiohttp.ClientConnectorError):
        why = "refused the connection"
    else:
        why = "closed the connection without an answer"
    return ExpertUnavailable(expert.name, f"Expert {expert.name} {why}.")


def _headers(response: "ClientResponse") -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}
