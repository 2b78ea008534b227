"""Requests for what only a server can do that speaks the client's dialect itself."""

from collections.abc import Mapping
from typing import Any

from app.dialects.dialect import Document, needs_native_server
from app.errors import ServiceError
from app.services import Services
from experts.expert import DialectName
from routers.decision import SINGLE


def for_native_experts(
    services: Services, dialect: DialectName, chat: Mapping[str, Any], native_only: ServiceError
) -> Document:
    """The chat request with `routing` that leaves only experts whose servers speak `dialect` themselves.
    Raises ServiceError (400): `native_only` when no expert does, another when the request names one that does
    not, or a strategy."""
    experts, speaks = services.registry.experts, services.prompting.speaks
    speaking = {name for name, expert in experts.items() if speaks(expert, dialect)}
    if not speaking:
        raise native_only
    names, routing = services.routing.names, chat.get("routing")
    options = dict(routing) if isinstance(routing, dict) else {}
    named = str(options.get("expert") or chat.get("model"))
    pinned = named in names.experts
    candidates = [named] if pinned else list(names.composed)
    excluded = [name for name in candidates if name not in speaking]
    if len(excluded) == len(candidates):
        why = f"{named} has none" if pinned else "no expert here has one"
        raise needs_native_server(dialect, str(native_only.param), why)
    if options.get("strategy") not in (None, SINGLE):
        raise needs_native_server(dialect, str(native_only.param), "it cannot go with a strategy")
    if not pinned:
        given = options.get("exclude")
        options["exclude"] = [*(given if isinstance(given, list) else ()), *excluded]
    return {**chat, "routing": {**options, "strategy": SINGLE}}
