"""What fits an expert's context: how much what we put in front may take, and what that leaves to the answer.

Estimates alone: whether a request is too long, its expert's own server says.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from experts.expert import Expert
from experts.tokens import estimate_prompt_tokens, most_prompt_tokens

CHARACTERS_PER_TOKEN = 2.5
"""A cautious estimate for what we add ourselves: code and figures have fewer characters a token than
prose. Demos left out for it cost a little quality; demos that do not fit would cost the answer."""
TOKENS_PER_MESSAGE = 8
ANSWER_TOKENS = 256
"""Room for the answer when nobody says how long it may be."""
LEAST_SHARE = 8
"""However long a prompt is by a high estimate, its answer may have this part of the context: 1/8."""

_LIMITS = ("max_completion_tokens", "max_tokens")


def front_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Tokens that `messages` of ours add to a request in front of which they stand, at most: no fewer than
    `most_prompt_tokens` would set aside for them."""
    if not messages:
        return 0
    characters = sum(len(message["content"]) for message in messages)
    cautious = math.ceil(characters / CHARACTERS_PER_TOKEN) + TOKENS_PER_MESSAGE * len(messages)
    return max(cautious, most_prompt_tokens(messages))


def answer_room(expert: Expert, body: Mapping[str, Any]) -> int:
    """Tokens of context that are kept for the answer to `body`: as long as its client, else the expert's
    sampling, lets it become."""
    said = (limit for name in _LIMITS if isinstance(limit := body.get(name), int))
    return next(chain(said, own_limits(expert)), ANSWER_TOKENS)


def own_limits(expert: Expert) -> tuple[int, ...]:
    """Tokens that the expert's sampling lets an answer have at most, where it says so."""
    return tuple(limit for name in _LIMITS if isinstance(limit := expert.sampling.get(name), int))


def front_room(expert: Expert, body: Mapping[str, Any], answer: int | None) -> int:
    """Tokens that may stand in front of `body` beside an answer of `answer` tokens (None: as many as
    `answer_room` says); below 0 when not even that fits."""
    answer = answer_room(expert, body) if answer is None else answer
    return expert.context_length - estimate_prompt_tokens(body["messages"]) - answer


def context_left(expert: Expert, prompt_tokens: int) -> int:
    """Tokens of answer that fit beside a prompt of `prompt_tokens` at most. A prompt that seems to fill the
    context has, by so high an estimate, room for a short answer yet."""
    least = min(ANSWER_TOKENS, expert.context_length // LEAST_SHARE)
    return max(1, least, expert.context_length - prompt_tokens)
