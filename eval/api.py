"""The routing API, or any OpenAI-compatible server, as the harness asks it: one expert, one request.

Retries what may pass (busy, unavailable, broken connections), says why the rest failed. Knows nothing of
checks or files.
"""

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


class ApiError(Exception):
    """The API cannot be used at all: not there, not this kind of server, no such expert."""


class AskError(Exception):
    """One request failed for good. `code` is for machines, the message for people; no prompt in either.

    `unavailable` says that the expert rather than the request was at fault.
    """

    def __init__(self, code: str, message: str, *, unavailable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.unavailable = unavailable


class Price(BaseModel):
    """US dollars per million tokens."""

    model_config = ConfigDict(frozen=True)

    input: float = Field(default=0.0, ge=0)
    output: float = Field(default=0.0, ge=0)


class ExpertFacts(BaseModel):
    """What the API tells of an expert, but for its health."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(min_length=1)
    params_b: float | None = Field(default=None, gt=0)
    active_params_b: float | None = Field(default=None, gt=0)
    context_length: int | None = None
    capabilities: tuple[str, ...] = ()
    price: Price = Price()
    description: str = ""
    base: str | None = None
    prompt: dict[str, Any] | None = None
    mixture: dict[str, Any] | None = None
    described: dict[str, Any] | None = Field(default=None, alias="identity")
    """Its expert identities."""

    @property
    def identity(self) -> dict[str, Any]:
        """What changes when another model or prompt stands behind the name. Prices do not matter."""
        prompts = ("prompt", "mixture", "described")
        known = self.model_dump(mode="json", exclude={"price", *prompts})
        # Left out where there is none, so that answers kept before there were any are still found.
        return known | {name: value for name in prompts if (value := getattr(self, name)) is not None}


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how patiently to try; seconds."""

    attempts: int = 6
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0
    timeout_s: float = 900.0
    """For one attempt. Generous: a small machine answers slowly, and repeating makes it slower."""

    def wait(self, attempt: int, asked_for: float | None) -> float:
        """Seconds to wait after failed attempt `attempt` (from 0); `asked_for` is the server's wish."""
        backoff = min(self.longest_wait_s, self.first_wait_s * 2.0**attempt) * random.uniform(0.75, 1.25)
        return min(2 * self.longest_wait_s, max(backoff, asked_for or 0.0))


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer as the server gave it."""

    text: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_s: float
    routing: Mapping[str, Any] | None = None
    """The routing decision, where the server is Coterie."""
    logprobs: Any = None
    """OpenAI's log-probabilities of the tokens, when they were asked for."""


def routes(model: str) -> bool:
    """Whether `model` leaves the choice of the expert to Coterie: `coterie`, `coterie/<category>`."""
    return model == "coterie" or model.startswith("coterie/")


class Api:
    """A client of one API; use as an asynchronous context manager.

    `base` ends in `/v1`, which a bare `http://host:port` is given; `key`, if any, is sent as a bearer
    token. `connections` bounds the sockets.
    """

    def __init__(
        self, base: str, *, key: str | None = None, retry: Retry | None = None, connections: int = 64
    ) -> None:
        parts = urlsplit(base)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise ApiError(f"{base!r} is no address of an API, such as http://127.0.0.1:8000/v1")
        self.base = base.rstrip("/") if parts.path.strip("/") else f"{base.rstrip('/')}/v1"
        self._key = key
        self._retry = retry or Retry()
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            timeout=aiohttp.ClientTimeout(total=self._retry.timeout_s, sock_connect=10),
            headers={"Authorization": f"Bearer {self._key}"} if self._key else None,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def experts(self) -> tuple[ExpertFacts, ...]:
        """All experts of the API; of a server that is not Coterie, its models, about which it says little.

        Raises:
            ApiError: no answer, or none that lists experts or models.
        """
        listed = await self._list("experts")
        if listed is None:
            listed = [{"name": model.get("id")} for model in await self._list("models") or []]
        try:
            experts = tuple(ExpertFacts.model_validate(each) for each in listed)
        except ValidationError as error:
            raise ApiError(f"{self.base}/experts does not list experts as expected") from error
        if not experts:
            raise ApiError(f"{self.base} lists no experts")
        return experts

    async def composition(self) -> dict[str, Any] | None:
        """What /v1/composition tells of the composition that decides; None when there is no such page.

        Raises:
            ApiError: no answer, or none that can be used.
        """
        found = await self._page("composition")
        if found is not None and not isinstance(found.get("digest"), str):
            raise ApiError(f"{self.base}/composition does not name the composition's digest")
        return found

    async def decisions(self, limit: int | None = None) -> list[dict[str, Any]]:
        """What /v1/decisions tells, newest first; at most `limit` of them.

        Raises:
            ApiError: no answer, or a server that keeps no decisions.
        """
        found: list[dict[str, Any]] = []
        after = ""
        while limit is None or len(found) < limit:
            page = await self._page(f"decisions?limit=200{after}")
            if page is None or not isinstance(page.get("data"), list):
                raise ApiError(f"{self.base} keeps no decisions: is it Coterie?")
            found += page["data"]
            if not page.get("next_cursor"):
                break
            after = f"&after={page['next_cursor']}"
        return found[:limit]

    async def complete(
        self, expert: str, messages: Sequence[Mapping[str, str]], sampling: Mapping[str, Any]
    ) -> Completion:
        """Ask `expert` by name, without streaming, trying again while that may help.

        `coterie` and `coterie/<category>` may be answered by any expert; `sampling` is put into the body
        as it is, so it may hold `response_format`, `seed` or `routing` as well.

        Raises:
            AskError: refused, or still failing after the last attempt, or answered by another expert.
        """
        body = {"model": expert, "messages": [dict(m) for m in messages], "stream": False, **sampling}
        failure = AskError("not_asked", "no attempt was made")
        for attempt in range(self._retry.attempts):
            started = time.perf_counter()
            asked_for = None
            try:
                async with self._open.post(f"{self.base}/chat/completions", json=body) as response:
                    content = await response.read()
                    if response.status == 200:
                        return _completion(expert, response.headers, content, time.perf_counter() - started)
                    failure = _failure(response.status, content)
                    if response.status not in RETRIED:
                        raise failure
                    asked_for = _seconds(response.headers.get("Retry-After"))
            except TimeoutError:
                failure = AskError(
                    "timeout", f"no answer within {self._retry.timeout_s:g} s", unavailable=True
                )
            except aiohttp.ClientError as error:
                failure = AskError("connection", type(error).__name__, unavailable=True)
            if attempt + 1 < self._retry.attempts:
                await asyncio.sleep(self._retry.wait(attempt, asked_for))
        raise failure

    async def rate(self, answer: str, score: float) -> None:
        """Say what an answer, by its decision's or shadow's id, is worth: `score` in 0..1.

        Raises:
            ApiError: no answer, or the API does not know the id.
        """
        url = f"{self.base}/feedback"
        try:
            async with self._open.post(url, json={"decision_id": answer, "score": score}) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(f"no answer from {url} ({type(error).__name__}); is the service up?") from error
        if response.status != 201:
            raise ApiError(f"{url} answered with status {response.status}")

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise ApiError("the client is not open")
        return self._session

    async def _list(self, what: str) -> list[dict[str, Any]] | None:
        """The `data` of a listing; None when the server has no such page."""
        page = await self._page(what)
        if page is None:
            return None
        data = page.get("data")
        if not isinstance(data, list) or not all(isinstance(each, dict) for each in data):
            raise ApiError(f"{self.base}/{what} does not answer with a list")
        return data

    async def _page(self, what: str) -> dict[str, Any] | None:
        """The JSON object at an address; None when the server has no such page."""
        url = f"{self.base}/{what}"
        try:
            async with self._open.get(url, timeout=aiohttp.ClientTimeout(total=30)) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(f"no answer from {url} ({type(error).__name__}); is the service up?") from error
        if response.status == 404:
            return None
        if response.status != 200:
            raise ApiError(f"{url} answered with status {response.status}")
        return _object(content)


def _completion(expert: str, headers: Mapping[str, str], content: bytes, latency_s: float) -> Completion:
    body = _object(content)
    try:
        choice = body["choices"][0]
        text = choice["message"].get("content")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise AskError("bad_reply", "the answer is no chat completion") from error
    if not isinstance(text, str | None):
        raise AskError("bad_reply", "the answer's content is not text")
    routing = body.get("routing")
    routing = routing if isinstance(routing, dict) else None
    named = headers.get("x-coterie-expert") or (routing.get("expert") if routing else None)
    if named is not None and named != expert and not routes(expert):
        # A spilled request says nothing about the expert that was asked.
        raise AskError("other_expert", f"{named} answered in its place", unavailable=True)
    usage = body.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    finish = choice.get("finish_reason")
    return Completion(
        text=text or "",
        finish_reason=finish if isinstance(finish, str) else None,
        prompt_tokens=_count(counts.get("prompt_tokens")),
        completion_tokens=_count(counts.get("completion_tokens")),
        latency_s=latency_s,
        routing=routing,
        logprobs=choice.get("logprobs"),
    )


def _failure(status: int, content: bytes) -> AskError:
    # The server's own message stays out: some repeat the prompt in it.
    error = _object(content).get("error")
    code = error.get("code") if isinstance(error, dict) else None
    known = code[:60] if isinstance(code, str) and code else None
    return AskError(known or f"http_{status}", f"status {status}", unavailable=status in RETRIED)


def _object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None
