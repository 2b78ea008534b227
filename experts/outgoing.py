"""The request body for an expert: the client's, with model, sampling defaults and system prompt filled in;
unknown fields are kept."""

from collections.abc import Mapping
from typing import Any

from base.system_prompt import with_system_prompt
from experts.expert import Expert

OUR_FIELDS = frozenset({"routing"})
"""Fields of our API that no expert should see."""
DELIVERY_FIELDS = frozenset({"stream", "stream_options", "n"})
"""How the client wants its answer delivered; not copied to further calls of a request."""

_LIMITS = frozenset({"max_tokens", "max_completion_tokens"})
"""Two names of one limit: a default under one must not be added to the other."""


def outgoing_body(expert: Expert, body: Mapping[str, Any], *, stream: bool) -> dict[str, Any]:
    """A new body for `expert`. The caller's fields take precedence over sampling defaults; null means
    unset."""
    out = {name: value for name, value in body.items() if name not in OUR_FIELDS}
    limited = any(out.get(name) is not None for name in _LIMITS)
    for name, value in expert.sampling.items():
        if out.get(name) is None and not (limited and name in _LIMITS):
            out[name] = value
    out["model"] = expert.model
    if stream:
        out["stream"] = True
        # Asked for always, so that tokens are known; clients are told what they asked for.
        given = out.get("stream_options")
        out["stream_options"] = {**(given if isinstance(given, Mapping) else {}), "include_usage": True}
    else:
        out.pop("stream", None)
        out.pop("stream_options", None)
    if expert.system_prompt and isinstance(out.get("messages"), list):
        out["messages"] = with_system_prompt(expert.system_prompt, out["messages"])
    return out


def question_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """A client's body without routing and delivery fields."""
    return {name: value for name, value in body.items() if name not in OUR_FIELDS | DELIVERY_FIELDS}
