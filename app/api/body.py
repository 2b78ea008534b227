"""A request's body: read within its bound, parsed, checked; each failure a ServiceError."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from app.api.content_encoding import decoded, too_large
from app.api.json import BadJson, read_json
from app.api.native_experts import for_native_experts
from app.dialects.dialect import Dialect
from app.errors import ServiceError, validation_error
from app.serving.chat_body import ChatBody, ChatRequest

DRAIN_TIMES = 8
"""A refused body is still read up to so many times the limit: to answer before the client has sent
everything would reset its connection."""
DRAIN_S = 10.0

Body = TypeVar("Body", bound=BaseModel)


async def read_request(request: Request, dialect: Dialect) -> ChatRequest:
    """A request in `dialect`, in the form of a chat request, with who sent it. Raises as `read_body`."""
    started = time.perf_counter()
    body, document = await read_body(request, dialect.body)
    return chat_request(request, dialect, body, document, started)


def chat_request(
    request: Request,
    dialect: Dialect,
    body: BaseModel,
    document: Mapping[str, Any],
    started: float,
    *,
    count_only: bool = False,
) -> ChatRequest:
    """A checked body and its document in the form of a chat request. What no chat completion can say leaves
    only experts that speak the dialect, or is not counted when the tokens are all that is wanted
    (`count_only`). Raises ServiceError (400) for what no expert can do."""
    state, translation = request.state, dialect.to_chat(document)
    chat, native_only = translation.chat, None if count_only else translation.native_only
    if native_only is not None:
        chat = for_native_experts(request.app.state.services, dialect.name, chat, native_only)
    if not isinstance(body, ChatBody) or chat is not document:
        body = checked(ChatBody, chat)
    return ChatRequest(
        body,
        chat,
        request_id=state.request_id,
        api_key=state.api_key,
        headers=_headers(request),
        started=started,
        dialect=dialect.name,
        native=document if dialect.name != "chat" else None,
        native_only=native_only is not None,
    )


def _headers(request: Request) -> dict[str, str]:
    """By name; of a header that was sent twice the first."""
    return {
        name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(request.scope["headers"])
    }


async def read_body(request: Request, kind: type[Body]) -> tuple[Body, dict[str, Any]]:
    """The checked body and the whole document it came from.

    Raises ServiceError: 413 for more than `max_body_bytes`, also after decompression, 415 for an encoding
    that is not accepted, 400 for invalid JSON or a field that does not validate.
    """
    limit = request.app.state.settings.max_body_bytes
    try:
        raw = await _bounded_body(request, limit)
    except ClientDisconnect:
        raise ServiceError(499, "client_closed_request", "The client went away.") from None
    # A header that is sent twice is one list.
    if encodings := ",".join(request.headers.getlist("content-encoding")):
        raw = decoded(raw, encodings, limit)
    try:
        document = read_json(raw)
    except BadJson as error:
        raise ServiceError(400, "invalid_json", f"The body is not valid JSON: {error}.") from None
    if not isinstance(document, dict):
        raise ServiceError(400, "invalid_json", "The body must be a JSON object.")
    return checked(kind, document), document


def checked(kind: type[Body], document: Mapping[str, Any]) -> Body:
    """`document` as a `kind`. Raises ServiceError (400)."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        raise validation_error(details) from None


async def _bounded_body(request: Request, limit: int) -> bytes:
    """The body, whatever its content-length says. Raises ServiceError (413)."""
    announced = request.headers.get("content-length", "")
    body = bytearray()
    if not (announced.isdecimal() and int(announced) > limit):
        async for part in request.stream():
            body += part
            if len(body) > limit:
                break
        else:
            return bytes(body)
    await _drain(request, limit * DRAIN_TIMES - len(body))
    raise too_large(limit)


async def _drain(request: Request, most: int) -> None:
    """Read the rest of a refused body, for at most so many bytes and DRAIN_S."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            async for part in request.stream():
                most -= len(part)
                if most < 0:
                    break


def body_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """For a route's `openapi_extra`: the body that `read_body` reads."""
    reference = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}


def body_components(*kinds: type[BaseModel]) -> dict[str, Any]:
    """The schemas that `body_schema` refers to, for OpenAPI's `components`."""
    found: dict[str, Any] = {}
    for kind in kinds:
        schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
        found |= schema.pop("$defs", {})
        found[kind.__name__] = schema
    return found
