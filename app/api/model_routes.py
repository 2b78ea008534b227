"""/v1/models, /v1/experts and /v1/composition: what there is to ask, and what the router knows."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.embedding_routes import embedding_models
from app.api.json import JsonResponse
from app.dialects.messages_models import anthropic_model, anthropic_models
from app.errors import ServiceError
from app.services import Services
from app.serving.decision_document import expert_document
from app.serving.encoder_embeddings import TEXT_TOKENS
from routers.composition import Composition
from routers.policy import Policy

router = APIRouter()


@router.get("/v1/models")
async def models(request: Request) -> Response:
    """Everything `model` may say: `coterie`, `coterie/<category>`, every expert, and the router's encoder. In
    Anthropic's shape for its clients, which send `anthropic-version`."""
    services: Services = request.app.state.services
    found = [_model(name, services) for name in _names(services)]
    if "anthropic-version" in request.headers:
        chats = [each for each in found if each["capabilities"] != ["embeddings"]]
        return JsonResponse(anthropic_models(chats))
    return JsonResponse({"object": "list", "data": found})


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> Response:
    """One model."""
    services: Services = request.app.state.services
    if name not in _names(services):
        raise ServiceError(404, "model_not_found", f"The model {name[:80]!r} does not exist.", param="model")
    found = _model(name, services)
    return JsonResponse(anthropic_model(found) if "anthropic-version" in request.headers else found)


@router.get("/v1/experts")
async def experts(request: Request) -> Response:
    """Every expert of the registry, and whether it is up."""
    services: Services = request.app.state.services
    data = [
        expert_document(
            expert,
            services.health.status(expert.name),
            services.prompting.facts(expert),
            None if services.residency is None else services.residency.facts(expert.name),
            services.health.replicas(expert.name),
        )
        for expert in services.registry.experts.values()
    ]
    return JsonResponse({"object": "list", "data": data})


@router.get("/v1/composition")
async def composition(request: Request) -> Response:
    """The composition that decides now: categories, experts, policy, map, utilities, evidence."""
    services: Services = request.app.state.services
    routers = services.routing.routers
    canary = routers.canary and {
        "digest": routers.canary.composition.digest,
        "share": routers.share,
        "started_at": routers.started_at and routers.started_at.isoformat(),
    }
    return JsonResponse({**composition_document(routers.served.composition), "canary": canary})


def composition_document(composition: Composition) -> dict[str, Any]:
    """The composition for people and programs."""
    return {
        "object": "composition",
        "digest": composition.digest,
        "encoder": {"name": composition.encoder, "revision": composition.encoder_revision},
        "classifier": composition.classifier_name,
        "categories": list(composition.categories),
        "experts": [
            {**asdict(card), "capabilities": sorted(card.capabilities)} for card in composition.experts
        ],
        "policy": _policy_document(composition.policy),
        "map": dict(composition.map),
        "utilities": {
            category: _by_expert(composition, row)
            for category, row in zip(composition.categories, composition.utilities, strict=True)
        },
        "standard_errors": {
            category: _by_expert(composition, row)
            for category, row in zip(composition.categories, composition.errors, strict=True)
        },
        "global_utilities": _by_expert(composition, composition.global_utilities),
        "manifest": dict(composition.manifest),
    }


def _policy_document(policy: Policy) -> dict[str, Any]:
    """The policy; of the rules their names and targets, since conditions may hold customers' words."""
    document = {name: getattr(policy, name) for name in policy.__dataclass_fields__ if name != "rules"}
    rules = [
        {"name": r.name, "expert": r.expert, "category": r.category, "strategy": r.strategy}
        for r in policy.rules
    ]
    return {**document, "rules": rules}


def _by_expert(composition: Composition, row: Any) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in zip(composition.expert_names, row, strict=True)}


def _names(services: Services) -> list[str]:
    """What `model` may say, of chats and of embeddings."""
    models = list(services.routing.names.models)
    return [*models, *(name for name in embedding_models(services) if name not in models)]


def _model(name: str, services: Services) -> dict[str, Any]:
    """A model as clients list it. Where the router chooses, what is possible at all: the longest context and
    every capability of the experts that it chooses from. `max_model_len` is vLLM's name for the context."""
    names = services.routing.names
    if name not in names.models:
        longest, able = TEXT_TOKENS, {"embeddings"}
    else:
        chosen = (name,) if name in names.experts else names.composed
        experts = [services.registry.get(each) for each in chosen]
        longest = max(expert.context_length for expert in experts)
        able = {str(each) for expert in experts for each in expert.capabilities}
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "expert" if name in names.experts else "coterie",
        "context_length": longest,
        "max_model_len": longest,
        "capabilities": sorted(able),
    }
