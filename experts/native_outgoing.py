"""The request body for an expert whose server speaks the client's dialect: the client's own document, with
model, sampling defaults and system prompt filled in under that dialect's names."""

from collections.abc import Mapping
from typing import Any

from experts.adaptations import LIMIT_FIELDS, NOTHING, Adaptations
from experts.expert import DialectName, Expert
from experts.outgoing import OUR_FIELDS, outgoing_body
from experts.sampling_defaults import with_defaults

LIMIT_NAMES: Mapping[DialectName, str] = {
    "responses": "max_output_tokens",
    "messages": "max_tokens",
    "completions": "max_tokens",
}
"""What the bound of the answer is called."""
_DEFAULTS: Mapping[DialectName, frozenset[str]] = {
    "responses": frozenset(
        {
            "chat_template_kwargs",
            "frequency_penalty",
            "min_p",
            "presence_penalty",
            "repetition_penalty",
            "service_tier",
            "temperature",
            "top_k",
            "top_logprobs",
            "top_p",
        }
    ),
    "messages": frozenset({"temperature", "top_k", "top_p"}),
}
"""Sampling defaults that are called the same; completions take what chat takes, but for `_CHAT_ONLY`."""
_RENAMED: Mapping[DialectName, frozenset[str]] = {
    "responses": frozenset({*LIMIT_FIELDS, "reasoning_effort"}),
    "messages": frozenset({*LIMIT_FIELDS, "stop"}),
}
_CHAT_ONLY = frozenset(
    {
        "functions",
        "function_call",
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
        "tool_choice",
        "tools",
        "top_logprobs",
        "verbosity",
    }
)


def fits_dialect(expert: Expert, dialect: DialectName) -> bool:
    """Whether all that the registry puts into requests for `expert` has a place in `dialect`: its sampling
    defaults, and its system prompt. Else, and for several samples, it is asked for chat completions."""
    if dialect == "chat":
        return True
    if expert.samples > 1:
        return False
    if dialect == "completions":
        return expert.system_prompt is None and not expert.sampling.keys() & _CHAT_ONLY
    return expert.sampling.keys() - {"n"} <= _DEFAULTS[dialect] | _RENAMED[dialect]


def native_body(
    expert: Expert,
    body: Mapping[str, Any],
    dialect: DialectName,
    *,
    stream: bool,
    learned: Adaptations = NOTHING,
) -> dict[str, Any]:
    """A new body for `expert` in `dialect`. The caller's fields take precedence; null means unset. What was
    `learned` of the server is left out."""
    if dialect == "chat":
        return outgoing_body(expert, body, stream=stream, learned=learned)
    out = {name: value for name, value in body.items() if name not in OUR_FIELDS}
    out = with_defaults(out, _defaults(expert, dialect))
    out["model"] = expert.model
    if stream:
        out["stream"] = True
        if dialect == "completions":
            out["stream_options"] = {**(out.get("stream_options") or {}), "include_usage": True}
    else:
        out.pop("stream", None)
        out.pop("stream_options", None)
    if expert.system_prompt:
        _put_in_front(expert.system_prompt, out, dialect)
    dropped = (expert.adaptations | learned).drop
    return {name: value for name, value in out.items() if name not in dropped}


def embedding_body(expert: Expert, body: Mapping[str, Any]) -> dict[str, Any]:
    """A new body of a request for embeddings."""
    return {name: value for name, value in body.items() if name not in OUR_FIELDS} | {"model": expert.model}


def _defaults(expert: Expert, dialect: DialectName) -> dict[str, Any]:
    """The expert's sampling defaults, in the words of `dialect`, without those that it has none for."""
    given = {name: value for name, value in expert.sampling.items() if name != "n"}
    limits = [given.pop(name, None) for name in ("max_completion_tokens", "max_tokens")]
    stop, effort = given.get("stop"), given.get("reasoning_effort")
    same = _DEFAULTS.get(dialect, given.keys() - _CHAT_ONLY)
    defaults = {name: value for name, value in given.items() if name in same}
    defaults[LIMIT_NAMES[dialect]] = next((limit for limit in limits if limit is not None), None)
    if dialect == "messages" and stop is not None:
        defaults["stop_sequences"] = stop if isinstance(stop, list) else [stop]
    if dialect == "responses" and effort is not None:
        defaults["reasoning"] = {"effort": effort}
    return {name: value for name, value in defaults.items() if value is not None}


def _put_in_front(prompt: str, out: dict[str, Any], dialect: DialectName) -> None:
    """The expert's system prompt before the client's own."""
    if dialect == "completions":
        return  # no place for one: see `fits_dialect`
    name = "instructions" if dialect == "responses" else "system"
    said = out.get(name)
    if isinstance(said, list):
        out[name] = [{"type": "text", "text": prompt}, *said]
    else:
        out[name] = f"{prompt}\n\n{said}" if said else prompt
