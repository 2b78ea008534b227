"""Calls without input or output: what is asked and how its reply is read, for any transport to carry out.

A call is a generator: it yields requests, is sent the reply to each, and returns its result. Failures of
the transport are thrown into it. So one definition serves the synchronous and the asynchronous client.
"""

import json
from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from base.retries import RetryPolicy, read_retry_after
from client.errors import ApiBadReply, ApiError, ApiRefused

Owner = TypeVar("Owner")
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """`path` begins behind the address's `/v1`, or is a whole URL. `is_answer` says that the API has
    to work first, which takes long, `is_stream` that the reply is read as it comes. `after_s` seconds are
    waited before it is sent."""

    method: str
    path: str
    parameters: Mapping[str, str | int] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    is_answer: bool = False
    is_stream: bool = False
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class HttpReply:
    """`seconds` is what the exchange took; `stream` the transport's open response, in place of content,
    when a stream was asked for and begins."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    seconds: float = 0.0
    stream: Any = None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body's JSON; None when it is none."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None

    def document(self) -> dict[str, Any]:
        """The body's JSON object. Raises ApiBadReply."""
        found = self.json()
        if not isinstance(found, dict):
            raise ApiBadReply("What answers at the API's address sent no JSON object.", status=self.status)
        return found


Call = Generator[HttpRequest, HttpReply, T]


def asked(request: HttpRequest, retries: RetryPolicy) -> Call[HttpReply]:
    """The successful reply to `request`; what may pass is tried again. Raises ApiError."""
    attempt = 0
    while True:
        try:
            reply = yield request
            if reply.is_success:
                return reply
            raise refusal(reply.json(), reply)
        except ApiError as error:
            attempt += 1
            if not error.transient or attempt >= retries.attempts:
                raise
            request = replace(request, after_s=retries.delay(attempt - 1, error.retry_after))


def refusal(document: Any, reply: HttpReply | None = None) -> ApiRefused:
    """The error object of `document`; the status alone when something else answered, a proxy for instance.
    An event of a stream has no reply of its own."""
    error = document.get("error") if isinstance(document, dict) else None
    error = error if isinstance(error, dict) else {"message": error}
    status = None if reply is None else reply.status
    code, param = error.get("code"), error.get("param")
    return ApiRefused(
        str(error.get("message") or f"The API answered with status {status}."),
        code=code if isinstance(code, str) and code else None if status is None else f"http_{status}",
        status=status,
        param=None if param is None else str(param),
        retry_after=None if reply is None else read_retry_after(reply.headers.get("retry-after")),
    )


class Blocking:
    """A transport that carries out a call and returns its result. Raises ApiError."""

    def run(self, call: Call[T]) -> T:
        raise NotImplementedError


class Awaiting:
    """A transport that carries out a call when it is awaited. Raises ApiError."""

    async def run(self, call: Call[T]) -> T:
        raise NotImplementedError


class endpoint(Generic[Owner, P, T]):
    """Turns a method that describes a call into one that carries it out, as its transport does:
    `Client.experts()` returns the experts, `AsyncClient.experts()` is awaited for them."""

    def __init__(self, describe: Callable[Concatenate[Owner, P], Call[T]]) -> None:
        self._describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: Awaiting, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> "endpoint[Owner, P, T]": ...
    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self

        def carry_out(*arguments: P.args, **named: P.kwargs) -> Any:
            return client.run(self._describe(client, *arguments, **named))

        carry_out.__doc__ = self.__doc__
        return carry_out
