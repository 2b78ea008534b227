"""The prompt budget: tokens that prompts in front of a request may take, and what is left for the answer.

All are estimates; the expert's own server decides whether a request is too long.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from experts.expert import Expert
from experts.tokens import estimate_prompt_tokens, most_prompt_tokens

CHARACTERS_PER_TOKEN = 2.5
"""Deliberately low, since code and figures have fewer characters per token than prose: demos left out cost a
little quality, demos that do not fit would cost the answer."""
TOKENS_PER_MESSAGE = 8
ANSWER_TOKENS = 256
"""Default room for the answer."""
LEAST_SHARE = 8
"""An answer may have this part of the context (1/8) however long its prompt is estimated to be."""

_LIMITS = ("max_completion_tokens", "max_tokens")


def front_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Upper estimate of the tokens of `messages` that are put in front; at least `most_prompt_tokens`."""
    if not messages:
        return 0
    characters = sum(len(message["content"]) for message in messages)
    cautious = math.ceil(characters / CHARACTERS_PER_TOKEN) + TOKENS_PER_MESSAGE * len(messages)
    return max(cautious, most_prompt_tokens(messages))


def answer_room(expert: Expert, body: Mapping[str, Any]) -> int:
    """Tokens reserved for the answer to `body`: the client's limit, else the expert's sampling default."""
    said = (limit for name in _LIMITS if isinstance(limit := body.get(name), int))
    return next(chain(said, own_limits(expert)), ANSWER_TOKENS)


def own_limits(expert: Expert) -> tuple[int, ...]:
    """The limits on answers in the expert's sampling defaults."""
    return tuple(limit for name in _LIMITS if isinstance(limit := expert.sampling.get(name), int))


def front_room(expert: Expert, body: Mapping[str, Any], answer: int | None) -> int:
    """Tokens left in front of `body` beside an answer of `answer` tokens (None: `answer_room`); negative when
    not even that fits."""
    answer = answer_room(expert, body) if answer is None else answer
    return expert.context_length - estimate_prompt_tokens(body["messages"]) - answer


def context_left(expert: Expert, prompt_tokens: int) -> int:
    """Tokens left for an answer after a prompt of at most `prompt_tokens`. Never less than a short answer:
    the estimate of the prompt is high."""
    least = min(ANSWER_TOKENS, expert.context_length // LEAST_SHARE)
    return max(1, least, expert.context_length - prompt_tokens)
