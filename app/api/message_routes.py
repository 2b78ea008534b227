"""/v1/messages and /v1/messages/count_tokens: Anthropic's Messages API."""

import time
from dataclasses import replace

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.answer_request import answer_request
from app.api.body import body_schema, chat_request, read_body
from app.api.json import JsonResponse
from app.api.token_counting import prompt_tokens
from app.dialects.messages import MESSAGES, without_unsigned_thinking
from app.dialects.messages_body import MessagesBody, TokenCountBody
from app.services import Services
from app.serving.chat_body import ChatRequest

router = APIRouter()


@router.post("/v1/messages", openapi_extra=body_schema(MessagesBody))
async def messages(request: Request) -> Response:
    """Answer a conversation with the expert that is best for it. Anthropic's request and response; the
    decision is in `routing` of the message, of `message_start`, and in `x-coterie-*` headers."""
    return await answer_request(request, MESSAGES, await _read(request))


@router.post("/v1/messages/count_tokens", openapi_extra=body_schema(TokenCountBody))
async def count_tokens(request: Request) -> Response:
    """The prompt tokens of a request, as the expert counts them that it names or would be routed to now."""
    services: Services = request.app.state.services
    started = time.perf_counter()
    body, document = await read_body(request, TokenCountBody)
    chat = chat_request(request, MESSAGES, body, document, started, count_only=True)
    return JsonResponse({"input_tokens": await prompt_tokens(services, chat)})


async def _read(request: Request) -> ChatRequest:
    started = time.perf_counter()
    body, document = await read_body(request, MessagesBody)
    chat = chat_request(request, MESSAGES, body, document, started)
    return replace(chat, native=without_unsigned_thinking(document))
