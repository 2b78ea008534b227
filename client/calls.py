"""Every call of the API, described once for both clients. Knows nothing of how requests are sent."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import TypeAdapter, ValidationError

from base.retries import NO_RETRIES, RetryPolicy
from client.chat import ChatReply, Messages, chat_request, read_reply
from client.documents import (
    CompositionInfo,
    DecisionRecord,
    ExpertInfo,
    FeedbackRecord,
    Readiness,
    ReloadResult,
    RoutingDecision,
)
from client.errors import ApiBadReply, ApiError
from client.exchange import Call, HttpReply, HttpRequest, asked, endpoint

Document = TypeVar("Document")

PAGE_SIZE = 200
"""Most decisions that the API gives at once."""
DEFAULT_URL = "http://127.0.0.1:8000"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class ClientTimeouts:
    """Seconds. `answer_s` is the longest silence while an expert answers, streamed or not: for a whole
    answer it bounds all of it. Generous, since a small machine answers slowly."""

    connect_s: float = 5.0
    page_s: float = 30.0
    """For what no expert has to work for."""
    answer_s: float = 900.0


def base_of(url: str) -> str:
    """The address that paths such as `/chat/completions` are appended to: `/v1` is added to a bare
    `http://host:port`, a path is kept as it is. Raises ApiError when `url` is no address."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        message = f"{url!r} is no address of an API, such as http://127.0.0.1:8000/v1"
        raise ApiError(message, code="invalid_address")
    bare = url.rstrip("/")
    return bare if parts.path.strip("/") else f"{bare}/v1"


def service_base(url: str) -> str:
    """As `base_of`, for an address of Coterie, which may stand behind a prefix and is written with `/v1` or
    without."""
    return base_of(f"{url.rstrip('/').removesuffix('/v1')}/v1")


class Api:
    """What both clients have in common; use `Client` or `AsyncClient`.

    Args:
        url: where the API is, as `base_of` reads it.
        key: an API key, sent as a bearer token.
        retries: how often a request for an answer is sent again when that may help; a stream only until it
            begins.
        connections: the most connections at once; further requests wait.

    Raises:
        ApiError: `url` is no address.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        retries: RetryPolicy = NO_RETRIES,
        timeouts: ClientTimeouts | None = None,
        connections: int = 100,
    ) -> None:
        self.base = base_of(url)
        self.retries = retries
        self.timeouts = timeouts or ClientTimeouts()
        self.connections = connections
        self.is_local = urlsplit(url).hostname in LOOPBACK
        """Whether the API is on this machine, where no proxy may stand in between."""
        self.headers = {b"user-agent": b"coterie-client"}
        if key:
            self.headers[b"authorization"] = f"Bearer {key}".encode()
        self._connect()

    @classmethod
    def from_environment(cls) -> Self:
        """A client of COTERIE_API_URL, with the key COTERIE_API_KEY."""
        url = service_base(os.environ.get("COTERIE_API_URL", DEFAULT_URL))
        return cls(url, key=os.environ.get("COTERIE_API_KEY"))

    def _connect(self) -> None:
        raise NotImplementedError

    @property
    def root(self) -> str:
        """The address without `/v1`."""
        return self.base.removesuffix("/v1")

    @endpoint
    def chat(self, /, messages: Messages, *, model: str = "coterie", **fields: Any) -> Call[ChatReply]:
        """The answer to `messages`, a question or chat messages. `model` is `coterie`, `coterie/<category>`
        or an expert's name; `fields` go into the body as they are: `temperature`, `tools`, `routing`, …"""
        request = chat_request("/chat/completions", messages, model, {"stream": False, **fields})
        return read_reply((yield from self._ask(request)))

    @endpoint
    def route(self, /, messages: Messages, *, model: str = "coterie", **fields: Any) -> Call[RoutingDecision]:
        """Which expert would answer, and why. Nobody is asked and nothing is stored."""
        reply = yield from self._ask(chat_request("/route", messages, model, fields))
        return _read(DECISION, reply)

    @endpoint
    def decisions(
        self, /, limit: int | None = None, **filters: str | None
    ) -> Call[tuple[DecisionRecord, ...]]:
        """Decisions, newest first, at most `limit` of them; `filters` (`expert`, `category`, `reason`,
        `status`, `model`, `conversation`, `request_id`, `api_key`, `since`, `until`) narrow them."""
        parameters: dict[str, str | int] = {
            name: value for name, value in filters.items() if value is not None
        }
        found: list[DecisionRecord] = []
        while limit is None or len(found) < limit:
            left = PAGE_SIZE if limit is None else min(limit - len(found), PAGE_SIZE)
            reply = yield from self._ask(HttpRequest("GET", "/decisions", {**parameters, "limit": left}))
            page = _read(DECISIONS, reply, "data")
            found += page
            following = reply.document().get("next_cursor")
            if not following:
                break
            parameters["after"] = str(following)
        return tuple(found)

    @endpoint
    def decision(self, decision_id: str) -> Call[DecisionRecord]:
        """One decision; its `status` is `running` while the answer is on the way."""
        reply = yield from self._ask(HttpRequest("GET", f"/decisions/{quote(decision_id, safe='')}"))
        return _read(RECORD, reply)

    @endpoint
    def feedback(
        self,
        decision_id: str,
        *,
        rating: int | None = None,
        score: float | None = None,
        comment: str | None = None,
    ) -> Call[FeedbackRecord]:
        """Rate an answer by its decision's (or shadow's) id: `rating` -1, 0 (takes a rating back) or 1, or
        `score` in 0..1."""
        given = {"decision_id": decision_id, "rating": rating, "score": score, "comment": comment}
        body = {name: value for name, value in given.items() if value is not None}
        return _read(FEEDBACK, (yield from self._ask(HttpRequest("POST", "/feedback", body=body))))

    @endpoint
    def experts(self) -> Call[tuple[ExpertInfo, ...]]:
        """Every expert of the registry with its health."""
        return _read(EXPERTS, (yield from self._ask(HttpRequest("GET", "/experts"))), "data")

    @endpoint
    def composition(self) -> Call[CompositionInfo]:
        """What was fitted and decides now: categories, map, utilities, policy, manifest."""
        return _read(COMPOSITION, (yield from self._ask(HttpRequest("GET", "/composition"))))

    @endpoint
    def reload(self) -> Call[ReloadResult]:
        """Let the service read its composition's folder and its rules again."""
        return _read(
            RELOAD,
            (yield from self._ask(HttpRequest("POST", "/composition/reload", body={}, is_answer=True))),
        )

    @endpoint
    def models(self) -> Call[tuple[str, ...]]:
        """Everything that `model` may say: `coterie`, `coterie/<category>`, and every expert."""
        listed = _read(MODELS, (yield from self._ask(HttpRequest("GET", "/models"))), "data")
        return tuple(str(each.get("id", "")) for each in listed)

    @endpoint
    def readiness(self) -> Call[Readiness]:
        """Whether requests can be answered; one that is not ready is an answer too."""
        return _read(READINESS, (yield HttpRequest("GET", f"{self.root}/readyz")))

    def _opening(self, messages: Messages, model: str, fields: Mapping[str, Any]) -> Call[HttpReply]:
        """The open stream of an answer."""
        streamed = {"stream": True, "stream_options": {"include_usage": True}, **fields}
        request = chat_request("/chat/completions", messages, model, streamed)
        reply = yield from self._ask(replace(request, is_stream=True))
        if reply.stream is None:
            raise ApiBadReply("The API's answer is no event stream.", status=reply.status)
        return reply

    def _ask(self, request: HttpRequest) -> Call[HttpReply]:
        return asked(request, self.retries if request.is_answer else NO_RETRIES)


DECISION = TypeAdapter(RoutingDecision)
DECISIONS = TypeAdapter(tuple[DecisionRecord, ...])
RECORD = TypeAdapter(DecisionRecord)
FEEDBACK = TypeAdapter(FeedbackRecord)
EXPERTS = TypeAdapter(tuple[ExpertInfo, ...])
COMPOSITION = TypeAdapter(CompositionInfo)
RELOAD = TypeAdapter(ReloadResult)
MODELS = TypeAdapter(tuple[dict[str, Any], ...])
READINESS = TypeAdapter(Readiness)


def _read(shape: TypeAdapter[Document], reply: HttpReply, key: str | None = None) -> Document:
    """The body, or what it has under `key`, as a document. Raises ApiBadReply."""
    document: Mapping[str, Any] = reply.document()
    try:
        return shape.validate_python(document if key is None else document[key])
    except (ValidationError, KeyError):
        raise ApiBadReply(
            "The API's answer has a shape that this client does not know.", status=reply.status
        ) from None
