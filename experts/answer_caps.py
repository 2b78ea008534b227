"""Caps on answers (`max_tokens` under its names): clipped to what a context leaves, and to what a server says
it takes when it refuses one."""

import re
from collections.abc import Mapping
from typing import Any

from experts.adaptations import LIMIT_FIELDS
from experts.errors import ContextTooLong, ExpertRejected
from experts.expert import DialectName, Expert
from experts.native_outgoing import LIMIT_NAMES

Body = Mapping[str, Any]

CAP_FIELDS = (*LIMIT_FIELDS, "max_output_tokens")
"""One cap: chat completions' two names, and Responses' name."""


def _patterns(*patterns: str) -> tuple[re.Pattern[str], ...]:
    """`N` stands for a number, which is captured."""
    return tuple(re.compile(each.replace("N", r"([\d,]+)"), re.IGNORECASE) for each in patterns)


_PROMPT_TOKENS = _patterns(
    # vLLM, now and before
    r"prompt contains N input tokens",
    r"(?:request|prompt) has N input tokens",
    r"N in the (?:messages|prompt)",
    r"N in your prompt",
    # SGLang, Text Generation Inference, Mistral
    r"N tokens from the input",
    r"Given: N `?inputs`? tokens",
    r"prompt contains N tokens",
    # Anthropic
    r"exceed context limit: N \+",
)
"""How servers tell the length of a prompt. "at least N" is no length."""
_CONTEXT = _patterns(
    r"context (?:length|size|window) (?:is|of) (?:only )?N",
    r"available context size \(N",
    r"must be <= N",
    r"\d > N",
)
_MOST_ANSWER = _patterns(
    # OpenAI, Anthropic, Groq, DeepSeek, Gemini, Bedrock
    r"supports at most N (?:completion|output) tokens",
    r"max(?:_completion|_output)?_tokens: [\d,]+ > N",
    r"max(?:_completion|_output)?_tokens\W{1,3}must be less than or equal to \W?N",
    r"valid range of \W?max(?:_completion|_output)?_tokens\W? is \[\d+, ?N\]",
    r"max_?output_?tokens.{0,80}from \d+ \(inclusive\) to N \(inclusive\)",
    r"maximum tokens you requested exceeds the model limit of N",
)
"""How servers tell the longest answer that a model gives, whatever the prompt."""


def answer_cap(expert: Expert, body: Body) -> int | None:
    """The tokens that an answer to `body` may have: the client's cap, else the expert's default."""
    return min(_caps(body) or _caps(expert.sampling), default=None)


def capped(expert: Expert, body: Body, most: int, dialect: DialectName = "chat") -> Body:
    """`body`, of `dialect`, with caps of no more than `most`, at least 1; `body` itself when it asks for no
    more. A default of the expert that is above `most` becomes the body's own."""
    most = max(1, most)
    own = bool(_caps(body))
    fields = body if own else expert.sampling
    above = {name: most for name in CAP_FIELDS if isinstance(cap := fields.get(name), int) and cap > most}
    if above and not own and dialect in LIMIT_NAMES:
        above = {LIMIT_NAMES[dialect]: most}
    return {**body, **above} if above else body


def reported_answer_limit(error: ExpertRejected) -> int | None:
    """The longest answer that the server's refusal says its model gives; None when it says nothing of it."""
    return _first(_MOST_ANSWER, error)


def reported_prompt_tokens(error: ContextTooLong) -> int | None:
    """The prompt's tokens, where the server's refusal tells them."""
    return _first(_PROMPT_TOKENS, error)


def reported_context_length(error: ContextTooLong) -> int | None:
    """The length of the server's context, where its refusal tells it."""
    return _first(_CONTEXT, error)


def _caps(fields: Mapping[str, Any]) -> list[int]:
    return [cap for name in CAP_FIELDS if isinstance(cap := fields.get(name), int)]


def _first(patterns: tuple[re.Pattern[str], ...], error: ExpertRejected) -> int | None:
    message = str(error.error.get("message") or "")
    for pattern in patterns:
        if found := pattern.search(message):
            return int(found[1].replace(",", ""))
    return None
