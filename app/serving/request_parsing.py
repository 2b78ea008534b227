"""Parses a chat request into a request as the router reads it. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from app.errors import ServiceError
from app.serving.chat_body import ChatBody, ChatRequest
from base.suggestions import close_names, listed
from experts.registry import Registry
from experts.token_counter import MIN_ANSWER_TOKENS
from routers.decision import SINGLE
from routers.request import Capability, Request, Turn

if TYPE_CHECKING:
    from routers.router import Router

ROUTED_MODEL = "coterie"
CATEGORY_PREFIX = "coterie/"
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"})
"""Excluded from a request's attributes, so that no rule, log or decision can hold them."""

MEDIA: Mapping[str, Capability] = {
    "image_url": Capability.VISION,
    "input_audio": Capability.AUDIO,
    "audio_url": Capability.AUDIO,
    "video_url": Capability.VIDEO,
    "file": Capability.FILES,
}
"""What the parts of a message need, by their type (`app.dialects.content_parts`)."""


@dataclass(frozen=True)
class Names:
    """What a client may name: the registry's experts, the composition's own, its categories."""

    experts: Collection[str]
    composed: Collection[str]
    categories: Collection[str]
    strategies: Collection[str] = (SINGLE,)
    encoder: str = ""
    """The router's own, which makes embeddings alone."""

    @classmethod
    def of(cls, registry: Registry, router: "Router") -> "Names":
        composition, strategies = router.composition, router.strategies.available
        return cls(
            registry.names,
            composition.expert_names,
            composition.categories,
            strategies or (SINGLE,),
            router.encoder.name,
        )

    @cached_property
    def models(self) -> tuple[str, ...]:
        """Every value of `model`."""
        return (
            ROUTED_MODEL,
            *(f"{CATEGORY_PREFIX}{category}" for category in self.categories),
            *self.experts,
        )


def routing_request(
    chat: ChatRequest, names: Names, *, decision_id: str, known: Mapping[str, Any] = MappingProxyType({})
) -> Request:
    """The router's view of `chat`; `known`: further fields, of its conversation and its tokens. Raises
    ServiceError for a name that is not there."""
    body = chat.body
    expert, category = pins(body, names)
    options = body.routing
    if options.strategy is not None and options.strategy not in names.strategies:
        raise _unknown("strategy", options.strategy, names.strategies, "routing.strategy")
    if options.strategy == SINGLE and options.options:
        raise ServiceError(
            400, "invalid_value", "The strategy single has no options.", param="routing.options"
        )
    for name in options.exclude:
        if name not in names.composed:
            raise _unknown("expert", name, names.composed, "routing.exclude")
    for name in options.boost:
        if name not in names.composed:
            raise _unknown("expert", name, names.composed, "routing.boost")
    return Request(
        id=decision_id,
        turns=tuple([Turn(message.role, message.text) for message in body.messages]),
        output_tokens=least_answer(body),
        needs=needs(body),
        pinned_expert=expert,
        pinned_category=category,
        exclude=frozenset(options.exclude),
        boost=options.boost,
        strategy=options.strategy,
        attributes=attributes(chat),
        **known,
    )


def least_answer(body: ChatBody) -> int:
    """The tokens that must be left for an answer: few, since the client's cap is no need."""
    return min(body.max_completion_tokens or body.max_tokens or MIN_ANSWER_TOKENS, MIN_ANSWER_TOKENS)


def pins(body: ChatBody, names: Names) -> tuple[str | None, str | None]:
    """The expert or the category that `model` or `routing` names; `routing` says it in more detail."""
    if body.model is None:
        raise ServiceError(
            404,
            "model_not_found",
            f"Name a model: {ROUTED_MODEL!r} routes; also {listed(names.models[1:])}.",
            param="model",
        )
    if body.model == names.encoder and body.model not in names.models:
        message = f"{body.model} makes embeddings, no answers: ask /v1/embeddings, or name another model."
        raise ServiceError(400, "capability_unavailable", message, param="model")
    if body.model not in names.models:
        raise _unknown("model", body.model, names.models, "model", status=404)
    if body.routing.expert is not None:
        if body.routing.expert not in names.experts:
            raise _unknown("expert", body.routing.expert, names.experts, "routing.expert")
        return body.routing.expert, None
    if body.routing.category is not None:
        if body.routing.category not in names.categories:
            raise _unknown("category", body.routing.category, names.categories, "routing.category")
        return None, body.routing.category
    if body.model == ROUTED_MODEL:
        return None, None
    if body.model in names.experts:
        return body.model, None
    return None, body.model.removeprefix(CATEGORY_PREFIX)


def needs(body: ChatBody) -> frozenset[Capability]:
    """What the request needs beyond plain chat."""
    found = {
        capability
        for message in body.messages
        if isinstance(message.content, list)
        for part in message.content
        if (capability := MEDIA.get(part["type"])) is not None
    }
    if (body.tools and body.tool_choice != "none") or (body.functions and body.function_call != "none"):
        found.add(Capability.TOOLS)
    if body.response_format and body.response_format.get("type") in ("json_schema", "json_object"):
        found.add(Capability.JSON_SCHEMA)
    return frozenset(found)


def attributes(chat: ChatRequest) -> dict[str, str]:
    """What operators' rules may match on."""
    found = {name: value for name, value in chat.headers.items() if name not in SECRET_HEADERS}
    if chat.api_key is not None:
        found["api_key"] = chat.api_key
    else:
        # A header of that name must not pass for a key.
        found.pop("api_key", None)
    return found


def _unknown(kind: str, name: str, known: Collection[str], param: str, *, status: int = 400) -> ServiceError:
    close = close_names(name, known)
    hint = f"Did you mean {' or '.join(close)}?" if close else f"There are: {listed(known)}."
    if kind == "strategy" and close:
        hint += f" There are: {listed(known)}."
    code = "model_not_found" if status == 404 else "invalid_value"
    return ServiceError(status, code, f"The {kind} {name[:80]!r} does not exist. {hint}", param=param)
