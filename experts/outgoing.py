"""The body that goes to an expert, made from the caller's: model, default sampling, system prompt.

Fields that nobody here knows are passed on as they are.
"""

from collections.abc import Mapping
from typing import Any

from experts.expert import Expert

OUR_FIELDS = frozenset({"routing"})
"""Fields of our API that no expert should see."""
DELIVERY_FIELDS = frozenset({"stream", "stream_options", "n"})
"""How the client wants its own answer. Other calls that a request leads to decide for themselves."""

_LIMITS = frozenset({"max_tokens", "max_completion_tokens"})
"""Two names of one limit: a default under one name must not stand beside the caller's other."""


def outgoing_body(expert: Expert, body: Mapping[str, Any], *, stream: bool) -> dict[str, Any]:
    """A new body for `expert`; `body` is left alone. The caller's fields win over the expert's sampling
    defaults; a null counts as not said."""
    out = {name: value for name, value in body.items() if name not in OUR_FIELDS}
    limited = any(out.get(name) is not None for name in _LIMITS)
    for name, value in expert.sampling.items():
        if out.get(name) is None and not (limited and name in _LIMITS):
            out[name] = value
    out["model"] = expert.model
    if stream:
        out["stream"] = True
    else:
        out.pop("stream", None)
        out.pop("stream_options", None)
    if expert.system_prompt and isinstance(out.get("messages"), list):
        out["messages"] = with_system_prompt(expert.system_prompt, out["messages"])
    return out


def question_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a client's body asks, without how its answer is to be routed and delivered."""
    return {name: value for name, value in body.items() if name not in OUR_FIELDS | DELIVERY_FIELDS}


def with_system_prompt(prompt: str, messages: list[Any]) -> list[Any]:
    """`messages` under `prompt`. It goes before the caller's own leading system message, in one message
    with it, since many chat templates take only one and only at the start."""
    first = messages[0] if messages else None
    if not isinstance(first, Mapping) or first.get("role") not in {"system", "developer"}:
        return [{"role": "system", "content": prompt}, *messages]
    content = first.get("content")
    merged: Any
    if isinstance(content, list):
        merged = [{"type": "text", "text": prompt}, *content]
    else:
        merged = f"{prompt}\n\n{content}" if content else prompt
    return [{**first, "content": merged}, *messages[1:]]
