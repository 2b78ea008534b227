"""/v1/embeddings: by experts with that capability, and by the router's own encoder."""

from typing import Any

import structlog
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.body import body_schema, read_body
from app.api.json import JsonResponse
from app.dialects.embedding_documents import EmbeddingsBody, Format, embedding_list, in_format
from app.errors import ServiceError
from app.services import Services
from app.serving.decision_document import decision_document, decision_headers
from app.serving.request_parsing import ROUTED_MODEL
from base.ids import new_id
from base.suggestions import listed
from experts.admission import Caller
from experts.errors import ExpertBadReply, ExpertError
from routers.decision import Classification, Decision, Reason

router = APIRouter()

log = structlog.get_logger(__name__)


@router.post("/v1/embeddings", openapi_extra=body_schema(EmbeddingsBody))
async def embeddings(request: Request) -> Response:
    """A vector for each text, by the model that is named: vectors of two models cannot be compared, so nobody
    chooses one. OpenAI's request and response; `routing` says who answered, and nothing is stored."""
    services: Services = request.app.state.services
    body, document = await read_body(request, EmbeddingsBody)
    most = services.settings.embedding_inputs
    if body.inputs > most:
        raise ServiceError(400, "invalid_value", f"input: must have at most {most} texts.", param="input")
    decision = _decision(services, body.model)
    form: Format = body.encoding_format or "float"
    if body.model in services.registry.names:
        caller = Caller(request.state.api_key)
        answer = await _by_expert(services, body.model, document, form, request.state.request_id, caller)
    else:
        answer = await _by_encoder(services, body, form)
    tokens = answer["usage"]["prompt_tokens"]
    services.metrics.tokens.labels(body.model, "prompt").inc(tokens)
    log.info("embedded", model=body.model, inputs=body.inputs, tokens=tokens)
    return JsonResponse(
        {**answer, "routing": decision_document(decision)}, headers=decision_headers(decision)
    )


def embedding_models(services: Services) -> list[str]:
    """Whom a request for embeddings may name."""
    experts = [each.name for each in services.registry.experts.values() if "embeddings" in each.capabilities]
    own = services.embeddings.encoder.name
    return experts if own in experts else [*experts, own]


def _decision(services: Services, name: str) -> Decision:
    """Whoever is named answers. Raises ServiceError (400 or 404) when that is no embedding model."""
    known = embedding_models(services)
    if name not in known:
        names = services.routing.names
        if name == ROUTED_MODEL or name not in names.models:
            why = "names no embedding model" if name == ROUTED_MODEL else "is no embedding model"
            message = (
                f"{name[:80]!r} {why}. There are: {listed(known)}. Vectors of two models cannot be compared, "
                "so one has to be named."
            )
            raise ServiceError(404, "model_not_found", message, param="model")
        message = f"{name} makes no embeddings. There are: {listed(known)}."
        raise ServiceError(400, "capability_unavailable", message, param="model")
    return Decision(
        id=new_id("dec_"),
        composition=services.routing.router.composition.digest,
        classification=Classification.SKIPPED,
        category=None,
        probability=None,
        runners_up=(),
        ood_score=None,
        ranking=(),
        expert=name,
        reason=Reason.PINNED,
        detail=f"The client asked for {name}.",
    )


async def _by_expert(
    services: Services,
    name: str,
    document: dict[str, Any],
    form: Format,
    request_id: str,
    caller: Caller,
) -> dict[str, Any]:
    # The format is ours to make: not every server knows base64.
    left_out = {"encoding_format", "routing"}
    asked = {name: value for name, value in document.items() if value is not None and name not in left_out}
    try:
        expert = services.registry.get(name)
        reply = await services.client.embed(expert, asked, request_id=request_id, caller=caller)
    except ExpertError as error:
        log.warning("expert_failed", expert=name, code=error.code)
        services.health.report_failure(name, error)
        raise
    services.health.report_success(name)
    try:
        return in_format(reply.body, form)
    except (TypeError, ValueError) as error:
        raise ExpertBadReply(name, f"Expert {name} sent an embedding that is no vector.") from error


async def _by_encoder(services: Services, body: EmbeddingsBody, form: Format) -> dict[str, Any]:
    encoder = services.embeddings.encoder
    if body.texts is None:
        message = f"{encoder.name} takes text, no tokens: its vocabulary is not that of other models."
        raise ServiceError(400, "invalid_value", message, param="input")
    if body.dimensions not in {None, encoder.dimension}:
        message = f"{encoder.name} has {encoder.dimension} dimensions, which cannot be cut down."
        raise ServiceError(400, "invalid_value", message, param="dimensions")
    found = await services.embeddings.embed(body.texts)
    return embedding_list(encoder.name, found.vectors, found.tokens, form)
