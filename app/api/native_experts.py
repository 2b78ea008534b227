"""Requests for what only a server can do that speaks the client's dialect itself."""

from collections.abc import Mapping
from typing import Any

from app.errors import ServiceError
from app.services import Services
from experts.expert import DialectName
from routers.decision import SINGLE

CALLED: Mapping[DialectName, str] = {
    "chat": "chat completions",
    "completions": "OpenAI's older completions",
    "messages": "Anthropic's Messages API",
    "responses": "OpenAI's Responses API",
}


def for_native_experts(
    services: Services, chat: Mapping[str, Any], dialect: DialectName, beyond: str
) -> dict[str, Any]:
    """`chat` for experts whose servers speak `dialect` themselves, since no other can be asked for what is at
    the path `beyond`. Raises ServiceError (400) when there is none, or another one is named."""
    names, routing = services.routing.names, chat.get("routing")
    options = dict(routing) if isinstance(routing, dict) else {}
    named = str(options.get("expert") or chat.get("model"))
    pinned = named in names.experts
    asked = [named] if pinned else list(names.composed)
    unable = [each for each in asked if not services.prompting.speaks(services.registry.get(each), dialect)]
    if len(unable) == len(asked) or options.get("strategy") not in (None, SINGLE):
        why = "it cannot go with a strategy"
        if len(unable) == len(asked):
            why = f"{named} has none" if pinned else "no expert here has one"
        raise ServiceError(
            400,
            "unsupported_value",
            f"{beyond}: this needs a server that speaks {CALLED[dialect]} itself, and {why}.",
            param=beyond,
        )
    if not pinned:
        given = options.get("exclude")
        options["exclude"] = [*(given if isinstance(given, list) else ()), *unable]
    return {**chat, "routing": {**options, "strategy": SINGLE}}
