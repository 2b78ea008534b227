"""The HTTP API, as far as the console uses it. Knows nothing of Streamlit.

Every method raises `ui.errors.ApiError` and nothing else.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2
from pydantic import TypeAdapter, ValidationError

from ui.documents import CategoryCard, Composition, Decision, DecisionRecord, ExpertCard
from ui.errors import ApiBadReply, ApiError, ApiRefused, ApiTimeout, ApiUnreachable
from ui.settings import ConsoleSettings

Item = TypeVar("Item")

CONNECTIONS = 100
PAGE_SIZE = 200
"""Most rows the API gives at once."""
EVENT_BYTES = 4 * 1024 * 1024
ERROR_BYTES = 64 * 1024

EXPERTS = TypeAdapter(tuple[ExpertCard, ...])
RECORDS = TypeAdapter(tuple[DecisionRecord, ...])
CATEGORIES = TypeAdapter(tuple[CategoryCard, ...])


@dataclass(frozen=True, slots=True)
class Routed:
    """The stream's first event: who answers, and why."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of the answer, or of the expert's thinking before it."""

    text: str = ""
    thinking: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """The expert has said why it stopped (`stop`, `length`, …)."""

    finish_reason: str


@dataclass(frozen=True, slots=True)
class Counted:
    """Tokens used, when the expert says."""

    prompt_tokens: int
    completion_tokens: int


ChatEvent = Routed | Said | Ended | Counted


class CoterieApi:
    """One pooled client. Belongs to the event loop that first used it."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self._root = settings.root
        self._idle_s = settings.console_idle_s
        headers = {"user-agent": "coterie-console"}
        if settings.api_key is not None:
            headers["authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
        self._client = httpx2.AsyncClient(
            base_url=self._root,
            headers=headers,
            timeout=httpx2.Timeout(settings.console_page_s, connect=settings.console_connect_s),
            limits=httpx2.Limits(max_connections=CONNECTIONS),
            trust_env=not settings.is_local,
        )
        self._answer_timeout = httpx2.Timeout(settings.console_idle_s, connect=settings.console_connect_s)

    async def close(self) -> None:
        await self._client.aclose()

    async def experts(self) -> tuple[ExpertCard, ...]:
        """Every expert of the registry with its health."""
        return _parse(EXPERTS, await self._get("/v1/experts", {}), "data")

    async def composition(self) -> Composition:
        """What was fitted: categories, map, utilities, policy, manifest."""
        document = await self._get("/v1/composition", {})
        if not isinstance(document, dict):
            raise ApiBadReply("/v1/composition did not answer with an object.")
        known = Composition.model_fields.keys()
        try:
            return Composition.model_validate(
                {key: value for key, value in document.items() if key in known and value is not None}
                | {"categories": _cards(document.get("categories") or [])}
                | {"manifest": document.get("manifest") or _rest(document)}
            )
        except ValidationError:
            raise ApiBadReply("The composition has a shape this console does not know.") from None

    async def decisions(self, *, limit: int, **filters: str | None) -> tuple[DecisionRecord, ...]:
        """The latest decisions, newest first, that match every filter given."""
        given = {name: value for name, value in filters.items() if value is not None}
        found: list[DecisionRecord] = []
        while len(found) < limit:
            size = min(limit - len(found), PAGE_SIZE)
            page = await self._get("/v1/decisions", {"limit": size, **given})
            records: tuple[DecisionRecord, ...] = _parse(RECORDS, page, "data")
            found += records
            if not page.get("next_cursor"):
                break
            given["after"] = str(page["next_cursor"])
        return tuple(found)

    async def give_feedback(self, decision_id: str, rating: int, comment: str | None) -> None:
        """Rate an answer -1, 0 (takes a rating back) or 1, with words if there are any."""
        body: dict[str, Any] = {"decision_id": decision_id, "rating": rating}
        if comment:
            body["comment"] = comment
        try:
            response = await self._client.post("/v1/feedback", json=body)
        except httpx2.HTTPError as error:
            raise self._transport_error(error) from error
        _refuse(response)

    async def chat(self, body: Mapping[str, Any]) -> AsyncIterator[ChatEvent]:
        """Stream one chat completion. Closing the iterator early stops the expert.

        Raises ApiError also in the middle: the API's own error event, silence longer than the idle
        bound, or a stream that ends before the expert has said that it is done.
        """
        try:
            async with self._client.stream(
                "POST", "/v1/chat/completions", json=dict(body), timeout=self._answer_timeout
            ) as response:
                if not response.is_success:
                    _refuse_text(response, await _head(response))
                async for event in _events(response):
                    yield event
        except httpx2.HTTPError as error:
            raise self._transport_error(error) from error

    async def _get(self, path: str, parameters: Mapping[str, str | int]) -> Any:
        try:
            response = await self._client.get(path, params=dict(parameters))
        except httpx2.HTTPError as error:
            raise self._transport_error(error) from error
        _refuse(response)
        try:
            return response.json()
        except ValueError:
            raise ApiBadReply(f"What answers at {self._root} sent no JSON for {path}.") from None

    def _transport_error(self, error: httpx2.HTTPError) -> ApiError:
        match error:
            case httpx2.ConnectError() | httpx2.ConnectTimeout() | httpx2.UnsupportedProtocol():
                return ApiUnreachable(self._root)
            case httpx2.TimeoutException():
                return ApiTimeout("The API stopped answering.")
            case httpx2.SSEError():
                return ApiBadReply("The API's answer is no event stream.")
            case _:
                return ApiTimeout("The connection to the API broke off.")


async def _events(response: httpx2.Response) -> AsyncIterator[ChatEvent]:
    ended = False
    async for event in httpx2.EventSource(response, max_event_size=EVENT_BYTES):
        if event.data.strip() == "[DONE]":
            return
        try:
            chunk = json.loads(event.data)
        except ValueError:
            raise ApiBadReply("The answer's stream holds something that is no JSON.") from None
        if not isinstance(chunk, dict):
            raise ApiBadReply("The answer's stream holds something that is no object.")
        for found in read_chunk(chunk):
            ended = ended or isinstance(found, Ended)
            yield found
    if not ended:
        raise ApiTimeout("The answer broke off before its end.")


def read_chunk(chunk: Mapping[str, Any]) -> list[ChatEvent]:
    """What one chunk of a streamed completion says. Raises ApiRefused for an error event."""
    if chunk.get("error"):
        raise _refusal(chunk, None)
    events: list[ChatEvent] = []
    if isinstance(chunk.get("routing"), dict):
        try:
            events.append(Routed(Decision.model_validate(chunk["routing"])))
        except ValidationError:
            raise ApiBadReply("The decision has a shape this console does not know.") from None
    choices = chunk.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        delta = choices[0].get("delta") or {}
        text = delta.get("content") or delta.get("refusal") or ""
        thinking = delta.get("reasoning_content") or delta.get("reasoning") or ""
        if text or thinking:
            events.append(Said(str(text), str(thinking)))
        if choices[0].get("finish_reason"):
            events.append(Ended(str(choices[0]["finish_reason"])))
    usage = chunk.get("usage")
    if isinstance(usage, dict):
        events.append(Counted(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)))
    return events


def _parse(shape: TypeAdapter[Item], document: Any, key: str) -> Item:
    try:
        return shape.validate_python(document[key])
    except (ValidationError, KeyError, TypeError):
        raise ApiBadReply("The API's answer has a shape this console does not know.") from None


def _cards(categories: list[Any]) -> list[dict[str, str]]:
    return [{"name": item} if isinstance(item, str) else item for item in categories]


def _rest(document: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of an API that spreads it over the document."""
    return {key: value for key, value in document.items() if key not in Composition.model_fields}


async def _head(response: httpx2.Response) -> str:
    """The start of an error's body: enough for any error object."""
    body = b""
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > ERROR_BYTES:
            break
    return body.decode("utf-8", errors="replace")


def _refuse(response: httpx2.Response) -> None:
    if not response.is_success:
        _refuse_text(response, response.text)


def _refuse_text(response: httpx2.Response, text: str) -> None:
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    raise _refusal(document, response.status_code)


def _refusal(document: Any, status: int | None) -> ApiRefused:
    """The API's error object; `status` alone when something else answered, a proxy for instance."""
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, dict):
        error = {"message": f"The API answered with status {status}."}
    return ApiRefused(
        str(error.get("message") or f"The API answered with status {status}."),
        code=str(error.get("code") or error.get("type") or f"http_{status}"),
        status=status,
    )
