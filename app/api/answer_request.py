"""A request in any dialect, from its decision to the response that answers it."""

from fastapi import Request
from starlette.background import BackgroundTask
from starlette.responses import Response

from app.api.answer_response import AnswerResponse, Keep
from app.dialects.dialect import Dialect
from app.services import Services
from app.serving.answer_record import AnswerRecord
from app.serving.chat_body import ChatRequest
from routers.decision import SINGLE


async def answer_request(
    request: Request, dialect: Dialect, chat: ChatRequest, *, keep: Keep | None = None
) -> Response:
    """Route `chat` and answer it; the response is in `dialect`. `keep` is handed the whole response before
    the client has its end."""
    services: Services = request.app.state.services
    decision, context = await services.routing.route(chat, answers=1)
    record = AnswerRecord(chat, decision, context, keep_text=services.settings.store_prompts)
    run = None if decision.strategy == SINGLE else await services.strategies.start(record)
    services.lifecycle.begin(record)
    source = services.answering if run is None else run
    answer = AnswerResponse(services.lifecycle, record, source, dialect, keep=keep)
    if run is None and services.shadow.on:
        answer.background = BackgroundTask(services.shadow.offer, record)
    return answer
