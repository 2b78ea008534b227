"""/v1/responses: OpenAI's Responses API, and the responses that are kept for it."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.api.answer_request import answer_request
from app.api.body import body_schema, chat_request, read_body
from app.api.json import JsonResponse
from app.api.token_counting import prompt_tokens
from app.dialects.responses import responses_dialect
from app.dialects.responses_request import InputTokensBody, ResponsesBody
from app.dialects.responses_stored import (
    is_reasoning,
    listed_items,
    references,
    resent_items,
    response_of_item,
)
from app.errors import ServiceError
from app.services import Services
from app.serving.answer_record import AnswerRecord
from app.serving.stored_responses import MAX_CHAIN
from app.storage.rows import ResponseRow

router = APIRouter()


@router.post("/v1/responses", openapi_extra=body_schema(ResponsesBody))
async def responses(request: Request) -> Response:
    """Answer a request of OpenAI's Responses API; the decision is in `routing` of the response, of the events
    that hold it, and in `x-coterie-*` headers."""
    services: Services = request.app.state.services
    started = time.perf_counter()
    body, document = await read_body(request, ResponsesBody)
    whole, own_items = await _expanded(services, request.state.api_key, document)
    dialect = responses_dialect(body.previous_response_id)
    chat = chat_request(request, dialect, body, whole, started)

    async def keep(record: AnswerRecord, response: dict[str, Any]) -> None:
        columns = {
            "id": response["id"],
            "api_key": record.chat.api_key,
            "created_at": datetime.now(UTC),
            "previous": body.previous_response_id,
            "input": listed_items(own_items, response["id"]),
            "response": response,
        }
        await services.stored_responses.keep(columns)

    keeps = services.stored_responses.keeps and body.store is not False
    return await answer_request(request, dialect, chat, keep=keep if keeps else None)


@router.post("/v1/responses/input_tokens", openapi_extra=body_schema(InputTokensBody))
async def input_tokens(request: Request) -> Response:
    """The prompt tokens of a request, as the expert counts them that it names or would be routed to now."""
    services: Services = request.app.state.services
    started = time.perf_counter()
    body, document = await read_body(request, InputTokensBody)
    whole, _ = await _expanded(services, request.state.api_key, {**document, "input": body.input})
    dialect = responses_dialect(body.previous_response_id)
    chat = chat_request(request, dialect, body, whole, started)
    tokens = await prompt_tokens(services, chat)
    return JsonResponse({"object": "response.input_tokens", "input_tokens": tokens})


@router.get("/v1/responses/{response_id}")
async def stored_response(request: Request, response_id: str, stream: bool = False) -> Response:
    """A stored response."""
    if stream:
        raise ServiceError(
            400,
            "unsupported_parameter",
            "stream: a stored response is not streamed again. Leave it out to get the whole response.",
            param="stream",
        )
    services: Services = request.app.state.services
    return JsonResponse((await services.stored_responses.one(request.state.api_key, response_id)).response)


@router.delete("/v1/responses/{response_id}")
async def delete_response(request: Request, response_id: str) -> Response:
    """Delete a stored response. Its decision stays."""
    services: Services = request.app.state.services
    await services.stored_responses.delete(request.state.api_key, response_id)
    return JsonResponse({"id": response_id, "object": "response", "deleted": True})


@router.get("/v1/responses/{response_id}/input_items")
async def input_items(
    request: Request,
    response_id: str,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: Annotated[str | None, Query(max_length=256)] = None,
) -> Response:
    """What a stored response answers: the items of its request, after those of the responses before it.
    `after` takes the id of the last item of the page before."""
    services: Services = request.app.state.services
    stored = services.stored_responses
    row = await stored.one(request.state.api_key, response_id)
    key, previous = request.state.api_key, row.previous
    before = [] if previous is None else await stored.chain(key, previous, whole=False)
    items = [*_conversation(before), *row.input]
    if order == "desc":
        items.reverse()
    if after is not None:
        places = [index for index, item in enumerate(items) if item.get("id") == after]
        if not places:
            raise ServiceError(
                400, "invalid_cursor", "after: there is no such item in this list.", param="after"
            )
        items = items[places[0] + 1 :]
    page = items[:limit]
    return JsonResponse(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else "",
            "last_id": page[-1]["id"] if page else "",
            "has_more": len(items) > limit,
        }
    )


@router.post("/v1/responses/{response_id}/cancel")
async def cancel(request: Request, response_id: str) -> Response:
    """Always an error: only responses in the background could be cancelled, and there are none."""
    raise ServiceError(
        400,
        "unsupported_operation",
        "Only responses in the background can be cancelled, and this service makes none. Close the "
        "connection to stop an answer.",
        param="response_id",
    )


async def _expanded(
    services: Services, api_key: str | None, document: Mapping[str, Any]
) -> tuple[dict[str, Any], Any]:
    """The document as a server without our storage can answer it, with every item of the conversation in
    `input`; and the request's own items. Raises ServiceError (400)."""
    own = await _resolved(services, api_key, document["input"])
    whole = {name: value for name, value in document.items() if name != "previous_response_id"}
    whole |= {"input": own, "store": False}
    previous = document.get("previous_response_id")
    if previous is not None:
        before = await services.stored_responses.chain(api_key, previous)
        items = [{"role": "user", "content": own}] if isinstance(own, str) else own
        whole["input"] = [*resent_items(_conversation(before)), *items]
    return whole, own


async def _resolved(services: Services, api_key: str | None, items: Any) -> Any:
    """The items, with those in the place of references that they name. Raises ServiceError (400)."""
    named = references(items)
    if not named:
        return items
    owners = {response_of_item(each) for each in named.values()} - {None}
    if len(owners) > MAX_CHAIN:
        raise ServiceError(
            400,
            "invalid_value",
            f"input: names items of more than {MAX_CHAIN} responses. Send them.",
            param="input",
        )
    rows = await services.stored_responses.several(api_key, [str(each) for each in owners])
    found = {item["id"]: item for row in rows.values() for item in _conversation([row]) if "id" in item}
    resolved = list(items)
    for index, item_id in named.items():
        if item_id in found:
            resolved[index] = found[item_id]
        elif is_reasoning(item_id):
            # An answer can be gone on from without its thoughts.
            resolved[index] = None
        else:
            raise ServiceError(
                400,
                "item_not_found",
                f"input[{index}]: no stored response has the item {item_id[:80]!r}. Send the whole item; "
                "client libraries do with `store` false.",
                param=f"input[{index}].id",
            )
    return [item for item in resolved if item is not None]


def _conversation(rows: list[ResponseRow]) -> list[dict[str, Any]]:
    """What was said in these turns, oldest first."""
    return [item for row in rows for item in (*row.input, *row.response.get("output", ()))]
