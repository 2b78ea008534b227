"""The request body for an expert: the client's, with model, sampling defaults and system prompt filled in;
unknown fields are kept."""

from collections.abc import Mapping
from typing import Any

from base.system_prompt import with_system_prompt
from experts.adaptations import NOTHING, Adaptations
from experts.expert import Expert
from experts.sampling_defaults import with_defaults

OUR_FIELDS = frozenset({"routing"})
"""Fields of our API that no expert should see."""
_LEGACY_FIELDS = frozenset({"functions", "function_call"})
"""Said as `tools` and `tool_choice` by the time that an expert is asked (`app.dialects.legacy_functions`)."""
_NOT_SENT = OUR_FIELDS | _LEGACY_FIELDS
DELIVERY_FIELDS = frozenset({"stream", "stream_options", "n"})
"""How the client wants its answer delivered; not copied to further calls of a request."""

_PREFILL = frozenset({"continue_final_message", "add_generation_prompt"})


def outgoing_body(
    expert: Expert, body: Mapping[str, Any], *, stream: bool, learned: Adaptations = NOTHING
) -> dict[str, Any]:
    """A new body for `expert`. The caller's fields take precedence over sampling defaults; null means unset.
    Adapted to the server by the registry, and by what was `learned`. The `n` of the defaults is left to
    `experts.samples`."""
    out = {name: value for name, value in body.items() if name not in _NOT_SENT}
    if expert.sampling:
        out = with_defaults(out, {name: value for name, value in expert.sampling.items() if name != "n"})
    if out.get("temperature") == 0:
        # It changes nothing, and vLLM 0.32's CPU engine dies of it when it reads a prompt in chunks.
        out.pop("seed", None)
    if not out.get("tools"):
        # Some servers refuse an empty list, and what is said of tools where there are none.
        out.pop("tools", None)
        out.pop("parallel_tool_calls", None)
    out["model"] = expert.model
    if stream:
        out["stream"] = True
        # Asked for always, so that tokens are known; clients are told what they asked for.
        given = out.get("stream_options")
        out["stream_options"] = {**(given if isinstance(given, Mapping) else {}), "include_usage": True}
    else:
        out.pop("stream", None)
        out.pop("stream_options", None)
    messages = out.get("messages")
    if isinstance(messages, list):
        if expert.system_prompt:
            out["messages"] = with_system_prompt(expert.system_prompt, messages)
        if not messages or not isinstance(messages[-1], Mapping) or messages[-1].get("role") != "assistant":
            # To go on with the last message; a strategy may have put another one behind it.
            for name in _PREFILL:
                out.pop(name, None)
    return (expert.adaptations | learned).applied(out)


def question_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """A client's body without routing and delivery fields."""
    return {name: value for name, value in body.items() if name not in OUR_FIELDS | DELIVERY_FIELDS}
