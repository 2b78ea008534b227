"""/v1/completions: OpenAI's older text completions."""

import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.answer_request import answer_request
from app.api.answer_response import AnswerResponse
from app.api.body import body_schema, chat_request, read_body
from app.api.prompt_batch import PromptBatch, PromptPart
from app.dialects.completions import COMPLETIONS, CompletionsBody, prompts_of
from app.services import Services
from app.serving.answer_record import AnswerRecord
from app.serving.chat_body import ChatRequest
from routers.decision import SINGLE

router = APIRouter()


@router.post("/v1/completions", openapi_extra=body_schema(CompletionsBody))
async def completions(request: Request) -> Response:
    """Continue a prompt, or each of several, with the expert that is best for it. OpenAI's request and
    response; the decision is in `routing` of the body, of the first streamed event, and in `x-coterie-*`
    headers."""
    started = time.perf_counter()
    body, document = await read_body(request, CompletionsBody)
    prompts = prompts_of(document)

    def asked(document: Mapping[str, Any]) -> ChatRequest:
        return chat_request(request, COMPLETIONS, body, document, started)

    if len(prompts) == 1:
        return await answer_request(request, COMPLETIONS, asked({**document, "prompt": prompts[0]}))
    parts = [asked({**document, "prompt": prompt}) for prompt in prompts]
    return await _answer_all(request.app.state.services, asked(document), parts, body.n or 1)


async def _answer_all(
    services: Services, chat: ChatRequest, parts: list[ChatRequest], choices: int
) -> Response:
    """Route `chat` once, and answer each of `parts` by that decision."""
    decision, context = await services.routing.route(chat, answers=len(parts))
    record = AnswerRecord(chat, decision, context, keep_text=services.settings.store_prompts)
    answered = []
    for part in parts:
        own = context.fresh()
        own.chat = part.document
        each = AnswerRecord(part, decision, own)
        run = None if decision.strategy == SINGLE else await services.strategies.start(each)
        answered.append(PromptPart(each, services.answering if run is None else run))
    services.lifecycle.begin(record)
    source = PromptBatch(answered, COMPLETIONS, choices)
    return AnswerResponse(services.lifecycle, record, source, COMPLETIONS)
