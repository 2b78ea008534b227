"""/v1/chat/completions and /v1/route."""

from contextlib import suppress

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.answer_request import answer_request
from app.api.body import body_schema, read_request
from app.api.json import JsonResponse
from app.dialects.chat_completions import CHAT
from app.services import Services
from app.serving.chat_body import ChatBody
from app.serving.decision_document import decision_document, decision_headers
from app.strategies.strategy_registry import StrategyError
from routers.decision import SINGLE

router = APIRouter()


@router.post("/v1/chat/completions", openapi_extra=body_schema(ChatBody))
async def chat_completions(request: Request) -> Response:
    """Answer a chat with the expert that is best for it. OpenAI's request and response; the decision is
    in `routing` of the body, of the first streamed event, and in `x-coterie-*` headers."""
    return await answer_request(request, CHAT, await read_request(request, CHAT))


@router.post("/v1/route", openapi_extra=body_schema(ChatBody))
async def route(request: Request) -> Response:
    """The decision for a chat, without an answer. It is not stored: nobody was answered."""
    services: Services = request.app.state.services
    chat = await read_request(request, CHAT)
    decision, context = await services.routing.route(chat)
    if decision.strategy != SINGLE:
        with suppress(StrategyError):
            services.strategies.options_for(decision.strategy, chat.body.routing.options)
    expert = services.registry.get(decision.expert)
    await services.prompting.preview(expert, context)
    document = decision_document(decision, used=context.use_of(expert.name))
    return JsonResponse(document, headers=decision_headers(decision))
