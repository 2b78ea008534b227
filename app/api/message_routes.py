"""/v1/messages and /v1/messages/count_tokens: Anthropic's Messages API."""

import time
from dataclasses import replace

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.answer_request import answer_request
from app.api.body import body_schema, chat_request, read_body
from app.api.json import JsonResponse
from app.api.native_experts import for_native_experts
from app.dialects.messages import MESSAGES
from app.dialects.messages_body import MessagesBody, TokenCountBody
from app.dialects.messages_request import translate
from app.services import Services
from app.serving.chat_body import ChatRequest

router = APIRouter()


@router.post("/v1/messages", openapi_extra=body_schema(MessagesBody))
async def messages(request: Request) -> Response:
    """Answer a conversation with the expert that is best for it. Anthropic's request and response; the
    decision is in `routing` of the message, of `message_start`, and in `x-coterie-*` headers."""
    return await answer_request(request, MESSAGES, await _read(request, MessagesBody))


@router.post("/v1/messages/count_tokens", openapi_extra=body_schema(TokenCountBody))
async def count_tokens(request: Request) -> Response:
    """The prompt tokens of a request, as the expert counts them that it would be routed to now."""
    services: Services = request.app.state.services
    chat = await _read(request, TokenCountBody)
    decision, _ = await services.routing.route(chat)
    count = await services.tokens.count(services.registry.get(decision.expert), chat.document)
    return JsonResponse({"input_tokens": count.tokens})


async def _read(request: Request, kind: type[TokenCountBody]) -> ChatRequest:
    started = time.perf_counter()
    body, document = await read_body(request, kind)
    translation = translate(document)
    chat = translation.chat
    if translation.beyond is not None:
        chat = for_native_experts(request.app.state.services, chat, "messages", translation.beyond)
    asked = chat_request(request, MESSAGES, body, document, started, chat=chat)
    return replace(asked, native_only=translation.beyond is not None)
