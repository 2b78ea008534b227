"""Pooled asynchronous client for OpenAI-compatible servers; experts of provider `litellm` go through
`experts.litellm_adapter`, imported on demand."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from base.json_documents import json_bytes
from experts.adaptations import AdaptedRequest, LearnedAdaptations
from experts.admission import NOBODY, Admission, Caller, Slot
from experts.credentials import read_api_key
from experts.errors import (
    ContextTooLong,
    ExpertBadReply,
    ExpertError,
    ExpertRejected,
    ExpertTimeout,
    ExpertUnavailable,
)
from experts.event_reader import read_json
from experts.expert import DialectName, Expert
from experts.expert_replies import ExpertReply, ReplicaUse, ReplyStream
from experts.native_outgoing import embedding_body, native_body
from experts.outgoing import outgoing_body
from experts.refusals import body_of, refusal, retry_after_in
from experts.reply_forms import EMBEDDINGS, FORMS, ReplyForm
from experts.samples import choices_in, reduced, sample_body, samples_for

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession, ClientTimeout

Reply = TypeVar("Reply")

ANTHROPIC_VERSION = "2023-06-01"
"""The version of Anthropic's API that `experts.native_replies` reads."""

__all__ = ["ClientLimits", "ExpertClient", "ExpertReply", "ReplyStream"]


TOKENIZED_FIELDS = (
    "model",
    "messages",
    "tools",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template_kwargs",
)
"""What of a request vLLM's `/tokenize` reads."""


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Limits of one client; concurrency per endpoint is `Expert.max_in_flight`."""

    keepalive_s: float = 4.0
    """Shorter than uvicorn's 5 s, so that connections are not reused while the server closes them."""
    max_reply_bytes: int = 32 * 2**20
    max_event_bytes: int = 4 * 2**20
    max_error_bytes: int = 64 * 2**10
    probe_s: float = 5.0
    """Timeout of `models`."""


class ExpertClient:
    """Belongs to one event loop; connections open on first use."""

    def __init__(
        self,
        *,
        limits: ClientLimits | None = None,
        admission: Admission | None = None,
        learned: LearnedAdaptations | None = None,
    ) -> None:
        self.limits = limits or ClientLimits()
        self.admission = admission or Admission()
        self.learned = learned or LearnedAdaptations()
        self._session: ClientSession | None = None
        self._closed = False
        self._used_litellm = False
        self._without_n: set[tuple[str | None, str]] = set()
        """Endpoints and models whose servers refused several choices."""

    async def __aenter__(self) -> "ExpertClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections; requests in flight fail. Idempotent."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
        if self._used_litellm:
            from experts import litellm_adapter

            await litellm_adapter.aclose()

    async def prepare(self, experts: Iterable[Expert]) -> None:
        """Load LiteLLM in advance if needed. Raises `ExpertUnavailable` when it is not installed."""
        for expert in experts:
            if expert.provider == "litellm":
                from experts import litellm_adapter

                self._used_litellm = True
                await litellm_adapter.load(expert)
                return

    async def complete(
        self,
        expert: Expert,
        body: Mapping[str, Any],
        *,
        dialect: DialectName = "chat",
        request_id: str | None = None,
        client_headers: Mapping[str, str] | None = None,
        caller: Caller = NOBODY,
    ) -> ExpertReply:
        """A whole answer to `body` in `dialect`, with the expert's model, sampling defaults and system prompt
        filled in, and adapted where the server refuses them. `client_headers` go with it; `caller` has a say
        in its place in the queue and its replica. Where the expert answers from several samples, the one that
        was selected. Raises `ExpertError`."""
        sent = _sent(request_id, client_headers)
        if samples_for(expert, body, dialect) > 1:
            return await self._selected(expert, body, sent, caller)
        return await self._one(expert, body, dialect, sent, caller)

    async def _selected(
        self, expert: Expert, body: Mapping[str, Any], sent: Mapping[str, str], caller: Caller
    ) -> ExpertReply:
        """The answer among `expert.samples`: those of one request, and more requests for what is missing."""
        server, replies = (expert.endpoint, expert.model), []
        if server not in self._without_n:
            try:
                asked = sample_body(expert, body, choices=expert.samples)
                replies.append(await self._one(expert, asked, "chat", sent, caller))
            except ContextTooLong:
                raise
            except ExpertRejected:
                # Perhaps of `n` alone: the next request tells.
                replies.append(await self._one(expert, sample_body(expert, body), "chat", sent, caller))
                self._without_n.add(server)
        came = sum(len(choices_in(reply)) for reply in replies)
        further = await asyncio.gather(
            *(
                self._one(expert, sample_body(expert, body, number), "chat", sent, caller)
                for number in range(came, expert.samples)
            ),
            return_exceptions=True,
        )
        failures = [each for each in further if isinstance(each, BaseException)]
        replies += [each for each in further if isinstance(each, ExpertReply)]
        # What is there is an answer, but for a mistake of ours.
        for failure in failures:
            if not replies or not isinstance(failure, ExpertError):
                raise failure
        return reduced(expert, body, replies)

    async def _one(
        self,
        expert: Expert,
        body: Mapping[str, Any],
        dialect: DialectName,
        sent: Mapping[str, str],
        caller: Caller,
    ) -> ExpertReply:
        asking = self._asking(expert, dialect)
        while True:
            out = native_body(expert, body, dialect, stream=False, learned=asking.adaptations)
            try:
                reply = await self._answer(expert, FORMS[dialect], out, sent, caller)
            except ExpertError as error:
                if not asking.learns_from(error, out):
                    raise
            else:
                asking.succeeded()
                return reply

    async def embed(
        self,
        expert: Expert,
        body: Mapping[str, Any],
        *,
        request_id: str | None = None,
        caller: Caller = NOBODY,
    ) -> ExpertReply:
        """Embeddings of `body["input"]`. Raises `ExpertError`."""
        return await self._answer(expert, EMBEDDINGS, embedding_body(expert, body), _sent(request_id), caller)

    async def _answer(
        self,
        expert: Expert,
        form: ReplyForm,
        out: Mapping[str, Any],
        sent: Mapping[str, str],
        caller: Caller,
    ) -> ExpertReply:
        until: float | None = None

        async def ask(_: object, at: Expert) -> ExpertReply:
            nonlocal until
            # All replicas together have the time of one request.
            until = until or asyncio.get_running_loop().time() + at.timeouts.total_s
            try:
                async with asyncio.timeout_at(until):
                    if at.provider == "litellm":
                        return await self._litellm_complete(at, form, out)
                    return await self._complete(at, form, out, sent)
            except TimeoutError:
                raise ExpertTimeout(
                    at.name, f"Expert {at.name} did not answer in {at.timeouts.total_s:g} s."
                ) from None

        if not expert.replicas and expert.provider == "openai":
            async with self.admission.slot(expert, caller):
                return await ask(None, expert)
        async with contextlib.AsyncExitStack() as stack:
            reply, use, _ = await self._placed(expert, out, caller, stack, ask)
            return reply if use is None else replace(reply, replica=use)

    async def _placed(
        self,
        expert: Expert,
        out: Mapping[str, Any],
        caller: Caller,
        stack: contextlib.AsyncExitStack,
        ask: "Callable[[contextlib.AsyncExitStack, Expert], Awaitable[Reply]]",
    ) -> "tuple[Reply, ReplicaUse | None, Slot]":
        """What `ask` gets at a server of `expert`, in a place that `stack` holds. Where there are replicas,
        those that fail before they begin to answer give way to another one. Raises `ExpertError`."""
        if not expert.replicas:
            slot = await stack.enter_async_context(self.admission.slot(expert, caller))
            if expert.provider == "litellm":
                await self.prepare([expert])
            return await ask(stack, expert), None, slot
        from experts.replica_attempts import asked_of, begun_at_a_replica

        asked = asked_of(expert, out, caller)
        return await begun_at_a_replica(self.admission, expert, caller, asked, stack, ask)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        expert: Expert,
        body: Mapping[str, Any],
        *,
        dialect: DialectName = "chat",
        request_id: str | None = None,
        client_headers: Mapping[str, str] | None = None,
        caller: Caller = NOBODY,
    ) -> AsyncIterator[ReplyStream]:
        """A streamed answer in `dialect`. Entering waits for the first text and raises `ExpertError` for
        failures before it; leaving early closes the connection, which makes the server abort. An answer from
        several samples comes when all are there."""
        asking, sent = self._asking(expert, dialect), _sent(request_id, client_headers)
        if samples_for(expert, body, dialect) > 1:
            reply = await self._selected(expert, body, sent, caller)
            selected = await ReplyStream.of_whole(expert, reply.body)
            selected.headers, selected.samples = reply.headers, reply.samples
            yield selected
            return
        async with contextlib.AsyncExitStack() as stack:
            stream = None
            while stream is None:
                out = native_body(expert, body, dialect, stream=True, learned=asking.adaptations)
                opened = self._streamed(expert, out, dialect, sent, caller)
                try:
                    stream = await stack.enter_async_context(opened)
                except ExpertError as error:
                    if not asking.learns_from(error, out):
                        raise
            asking.succeeded()
            yield stream

    def _asking(self, expert: Expert, dialect: DialectName) -> AdaptedRequest:
        return AdaptedRequest(self.learned, (expert.endpoint, expert.model, dialect), expert.name)

    @contextlib.asynccontextmanager
    async def _streamed(
        self,
        expert: Expert,
        out: Mapping[str, Any],
        dialect: DialectName,
        sent: Mapping[str, str],
        caller: Caller,
    ) -> AsyncIterator[ReplyStream]:
        first: float | None = None

        async def ask(stack: contextlib.AsyncExitStack, at: Expert) -> ReplyStream:
            nonlocal first
            # All replicas together have the time of one request.
            first = time.monotonic() if first is None else first
            return await self._begun(stack, at, out, dialect, sent, first + at.timeouts.total_s)

        async with contextlib.AsyncExitStack() as stack:
            stream, use, slot = await self._placed(expert, out, caller, stack, ask)
            stream.replica = use
            try:
                yield stream
            finally:
                if stream.failed is not None:
                    slot.failed(stream.failed)
                elif stream.done:
                    slot.succeeded()

    async def _begun(
        self,
        stack: contextlib.AsyncExitStack,
        expert: Expert,
        out: Mapping[str, Any],
        dialect: DialectName,
        sent: Mapping[str, str],
        deadline: float,
    ) -> ReplyStream:
        """A stream whose first text has come, and whose connection `stack` holds."""
        first_byte_s, begun = expert.timeouts.first_byte_s, time.monotonic()
        headers: Mapping[str, str] = {}
        if expert.provider == "litellm":
            from experts import litellm_adapter

            source = litellm_adapter.stream(expert, out)
        else:
            try:
                async with asyncio.timeout(min(first_byte_s, max(0.0, deadline - begun))):
                    response = await self._open(expert, "POST", FORMS[dialect].path, out, sent)
                    stack.callback(_leave, response)
            except TimeoutError:
                raise ExpertTimeout(
                    expert.name, f"Expert {expert.name} sent no first byte in {first_byte_s:g} s."
                ) from None
            headers, source = _headers(response), _chunks(expert, response)
        stream = ReplyStream(
            expert,
            await stack.enter_async_context(contextlib.aclosing(source)),
            headers=headers,
            deadline=deadline,
            max_event_bytes=self.limits.max_event_bytes,
            secret=read_api_key(expert),
            dialect=dialect,
            choices=n if isinstance(n := out.get("n"), int) else 1,
        )
        stack.callback(stream.close)
        await stream.begin(max(0.001, first_byte_s - (time.monotonic() - begun)))
        return stream

    async def models(self, expert: Expert) -> tuple[str, ...]:
        """The model names that the server lists (health check). Raises `ExpertError`; bypasses admission."""
        try:
            async with asyncio.timeout(self.limits.probe_s):
                payload = await self._json(expert, await self._open(expert, "GET", "/models"))
        except TimeoutError:
            raise ExpertTimeout(
                expert.name, f"Expert {expert.name} gave no sign of life in {self.limits.probe_s:g} s."
            ) from None
        listed = payload.get("data") if isinstance(payload, dict) else None
        if not isinstance(listed, list):
            raise ExpertBadReply(expert.name, f"Expert {expert.name} does not list its models.")
        return tuple(str(model["id"]) for model in listed if isinstance(model, dict) and "id" in model)

    async def metrics(self, expert: Expert) -> str:
        """What the server says at `/metrics`, Prometheus' text format. Raises `ExpertError`; bypasses
        admission."""
        try:
            async with asyncio.timeout(self.limits.probe_s):
                response = await self._open(expert, "GET", "/metrics", root=_root(expert))
                return (await self._read(expert, response)).decode("utf-8", "replace")
        except TimeoutError:
            raise ExpertTimeout(
                expert.name, f"Expert {expert.name} told nothing of its load in {self.limits.probe_s:g} s."
            ) from None

    async def tokenize(self, expert: Expert, body: Mapping[str, Any]) -> int | None:
        """The prompt tokens of a chat completion request as vLLM's `/tokenize` counts them; None when the
        server's answer holds no count. Raises `ExpertError`; bypasses admission, and the caller bounds it."""
        out = outgoing_body(expert, body, stream=False)
        asked = {name: out[name] for name in TOKENIZED_FIELDS if out.get(name) is not None}
        response = await self._open(expert, "POST", "/tokenize", asked, root=_root(expert))
        payload = await self._json(expert, response)
        count = payload.get("count") if isinstance(payload, dict) else None
        return count if isinstance(count, int) and count > 0 else None

    async def _complete(
        self, expert: Expert, form: ReplyForm, out: Mapping[str, Any], sent: Mapping[str, str]
    ) -> ExpertReply:
        response = await self._open(expert, "POST", form.path, out, sent)
        payload = await self._json(expert, response)
        body = form.check(expert, payload, read_api_key(expert))
        return ExpertReply(response.status, body, _headers(response), form.usage(body))

    async def _litellm_complete(self, expert: Expert, form: ReplyForm, out: Mapping[str, Any]) -> ExpertReply:
        from experts import litellm_adapter

        if form is not FORMS["chat"]:
            raise ExpertUnavailable(expert.name, f"Expert {expert.name} answers chat completions alone.")
        body = form.check(expert, await litellm_adapter.complete(expert, out), None)
        return ExpertReply(200, body, {}, form.usage(body))

    async def _open(
        self,
        expert: Expert,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        sent: Mapping[str, str] | None = None,
        root: str | None = None,
    ) -> "ClientResponse":
        """An unread 2xx response, which is to be read by `_read` or left by `_leave`; other statuses raise.
        `sent`: headers beside our own; `root`: in the place of the endpoint."""
        import aiohttp

        secret = read_api_key(expert)
        headers = {"accept-encoding": "identity"}
        if secret is not None:
            headers["authorization"] = f"Bearer {secret.get_secret_value()}"
        if path == FORMS["messages"].path:
            headers["anthropic-version"] = ANTHROPIC_VERSION
            if secret is not None:
                headers["x-api-key"] = secret.get_secret_value()
        headers |= sent or {}
        data = None
        if body is not None:
            headers["content-type"] = "application/json"
            data = json_bytes(body)
        try:
            response = await self._open_session().request(
                method,
                f"{expert.endpoint if root is None else root}{path}",
                data=data,
                headers=headers,
                timeout=_connect_timeout(expert.timeouts.connect_s),
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(expert, error) from error
        if 200 <= response.status < 300:
            return response
        try:
            wait_s = retry_after_in(_headers(response))
            payload = await self._error(response)
            raise refusal(expert, response.status, payload, secret, retry_after_s=wait_s)
        finally:
            _leave(response)

    async def _json(self, expert: Expert, response: "ClientResponse") -> Any:
        try:
            return read_json(await self._read(expert, response))
        except (ValueError, RecursionError) as error:
            raise ExpertBadReply(
                expert.name, f"Expert {expert.name} sent a reply that is not JSON."
            ) from error

    async def _read(self, expert: Expert, response: "ClientResponse") -> bytearray:
        """The whole body, and the connection given back. Raises `ExpertBadReply` when it is too large."""
        read, most = bytearray(), self.limits.max_reply_bytes
        try:
            while piece := await _piece(expert, response, begun=bool(read)):
                read += piece
                if len(read) > most:
                    raise ExpertBadReply(expert.name, f"Expert {expert.name} sent more than {most} bytes.")
        finally:
            _leave(response)
        return read

    async def _error(self, response: "ClientResponse") -> Any:
        """The body of an error response, JSON or text, None if there is none; does not raise."""
        import aiohttp

        read = bytearray()
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(self.limits.probe_s):
                async for chunk in response.content.iter_any():
                    read += chunk
                    if len(read) > self.limits.max_error_bytes:
                        break
        return body_of(bytes(read))

    def _open_session(self) -> "ClientSession":
        import aiohttp

        if self._closed:
            raise RuntimeError("the expert client is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # Admission bounds them, by `max_in_flight`. Nobody waits here for another's connection.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=self.limits.keepalive_s),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


@cache
def _connect_timeout(seconds: float) -> "ClientTimeout":
    """Admission and our own timeouts bound the rest."""
    import aiohttp

    # With the look-up of the name, which may hang too. The connections are not bounded, so that nobody waits
    # in this time for another's.
    return aiohttp.ClientTimeout(total=None, connect=seconds)


def _leave(response: "ClientResponse") -> None:
    """Give the connection back to the pool if the body was read; else close it: the server aborts."""
    response.release() if response.content.at_eof() else response.close()


async def _chunks(expert: Expert, response: "ClientResponse") -> AsyncGenerator[bytes]:
    """The body's bytes. Raises as `_piece`."""
    begun = False
    while piece := await _piece(expert, response, begun=begun):
        begun = True
        yield piece


async def _piece(expert: Expert, response: "ClientResponse", *, begun: bool) -> bytes:
    """What has come of the body, at least a byte; empty at its end. Raises `ExpertUnavailable` when the
    connection breaks before the first byte, `ExpertBadReply` when it had `begun`."""
    import aiohttp

    try:
        return await response.content.readany()
    except (aiohttp.ClientError, OSError) as error:
        from aiohttp.http_exceptions import ContentEncodingError

        if isinstance(error.__cause__, ContentEncodingError):
            raise ExpertBadReply(
                expert.name, f"Expert {expert.name} sent a compressed reply that cannot be read."
            ) from error
        if begun:
            raise ExpertBadReply(
                expert.name, f"Expert {expert.name} stopped in the middle of its answer."
            ) from error
        raise _unreachable(expert, error) from error


def _root(expert: Expert) -> str:
    """The server's address without `/v1`."""
    return (expert.endpoint or "").removesuffix("/v1")


def _unreachable(expert: Expert, error: Exception) -> ExpertError:
    """The connection error without the address, which may be internal."""
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


def _sent(request_id: str | None, client_headers: Mapping[str, str] | None = None) -> dict[str, str]:
    """What of the caller's request is told to the server, as headers."""
    return {**(client_headers or {}), **({} if request_id is None else {"x-request-id": request_id})}


def _headers(response: "ClientResponse") -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}
