"""Tokens of a request's prompt, as the expert counts them that would answer it. Asks no model."""

from app.services import Services
from app.serving.chat_body import ChatRequest
from experts.expert import Expert
from routers.decide import NoExpertFits


async def prompt_tokens(services: Services, chat: ChatRequest) -> int:
    """As the expert counts them that `chat` names or would be routed to now."""
    return (await services.tokens.count(await _expert(services, chat), chat.document)).tokens


async def _expert(services: Services, chat: ChatRequest) -> Expert:
    """Whose tokenizer counts: of a request that no expert can answer, that of the longest context."""
    registry, names = services.registry, services.routing.names
    named = chat.body.routing.expert or chat.body.model
    if named in names.experts:
        return registry.get(str(named))
    try:
        decision, _ = await services.routing.route(chat)
    except NoExpertFits:
        return max((registry.get(name) for name in names.composed), key=lambda each: each.context_length)
    return registry.get(decision.expert)
