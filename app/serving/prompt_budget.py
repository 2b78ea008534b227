"""The prompt budget: tokens that prompts in front of a request may take, and what is left for the answer.

Counted with the expert's tokenizer where it is at hand, else estimated; the expert's own server decides
whether a request is too long.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experts.answer_caps import CAP_FIELDS, answer_cap
from experts.expert import Expert
from experts.model_tokenizer import ModelTokenizer
from experts.tokens import reserved_tokens

CHARACTERS_PER_TOKEN = 2.5
"""Deliberately low, since code and figures have fewer characters per token than prose: demos left out cost a
little quality, demos that do not fit would cost the answer."""
TOKENS_PER_MESSAGE = 8
ANSWER_TOKENS = 256
"""Default room for the answer."""
LEAST_SHARE = 8
"""An answer may have this part of the context (1/8) however long its prompt is estimated to be."""


def front_tokens(messages: Sequence[Mapping[str, Any]], tokenizer: ModelTokenizer | None = None) -> int:
    """The tokens of `messages` that are put in front: counted by `tokenizer`, else estimated on the high
    side, at least `reserved_tokens`."""
    if not messages:
        return 0
    if tokenizer is not None:
        return sum(tokenizer.text(message["content"]) + TOKENS_PER_MESSAGE for message in messages)
    characters = sum(len(message["content"]) for message in messages)
    cautious = math.ceil(characters / CHARACTERS_PER_TOKEN) + TOKENS_PER_MESSAGE * len(messages)
    return max(cautious, reserved_tokens({"messages": messages}))


def answer_room(expert: Expert, body: Mapping[str, Any]) -> int:
    """Tokens reserved for the answer to `body`: the client's cap, else the expert's default, but no more than
    half of the context, since a cap is no need."""
    cap = answer_cap(expert, body)
    return ANSWER_TOKENS if cap is None else min(cap, max(ANSWER_TOKENS, expert.context_length // 2))


def own_limits(expert: Expert) -> tuple[int, ...]:
    """The limits on answers in the expert's sampling defaults."""
    return tuple(limit for name in CAP_FIELDS if isinstance(limit := expert.sampling.get(name), int))


def context_left(expert: Expert, prompt_tokens: int) -> int:
    """Tokens left for an answer after a prompt of at most `prompt_tokens`. Never less than a short answer:
    the estimate of the prompt is high."""
    least = min(ANSWER_TOKENS, expert.context_length // LEAST_SHARE)
    return max(1, least, expert.context_length - prompt_tokens)
