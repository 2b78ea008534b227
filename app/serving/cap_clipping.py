"""Clips caps on answers to what the context leaves, before an expert is asked, and once more when its server
refuses one. Knows nothing of prompts in front, nor of other experts."""

import math
from collections.abc import Mapping
from typing import Any

import structlog

from experts.answer_caps import (
    answer_cap,
    capped,
    reported_answer_limit,
    reported_context_length,
    reported_prompt_tokens,
)
from experts.errors import ContextTooLong, ExpertRejected
from experts.expert import DialectName, Expert
from experts.token_counter import MIN_ANSWER_TOKENS, TokenCounter
from experts.tokens import RESERVE

Body = Mapping[str, Any]

log = structlog.get_logger(__name__)


class CapClipping:
    """Clips caps by counts of tokens. Remembers the longest answer of experts whose servers have told it."""

    def __init__(self, tokens: TokenCounter) -> None:
        self._tokens = tokens
        self._longest: dict[str, int] = {}

    async def clipped(self, expert: Expert, body: Body, chat: Body, dialect: DialectName) -> Body:
        """`body` with no larger cap than the context leaves: exactly where the prompt is counted, else by its
        lower bound. `dialect` is that of `body`, `chat` the request in chat's form."""
        if (longest := self._longest.get(expert.name)) is not None:
            body = capped(expert, body, longest, dialect)
        if (cap := answer_cap(expert, body)) is None:
            return body
        prompt = await self._tokens.fit(expert, chat, cap)
        return capped(expert, body, expert.context_length - prompt.least, dialect)

    async def after(
        self, error: ExpertRejected, expert: Expert, body: Body, chat: Body, dialect: DialectName
    ) -> Body | None:
        """`body` with a smaller cap, after the server of `expert` refused the one that it has; None when that
        was not what it refused, or leaves no answer."""
        if (cap := answer_cap(expert, body)) is None:
            return None
        room = longest = reported_answer_limit(error)
        if longest is None and isinstance(error, ContextTooLong):
            room = await self._left(error, expert, chat)
        if room is None or room >= cap or room < min(cap, MIN_ANSWER_TOKENS):
            return None
        if longest is not None:
            self._longest[expert.name] = longest
        log.info("cap_refused", expert=expert.name, cap=cap, now=room)
        return capped(expert, body, room, dialect)

    async def _left(self, error: ContextTooLong, expert: Expert, chat: Body) -> int:
        """What is left by the server's own figures, else by ours."""
        context = min(expert.context_length, reported_context_length(error) or expert.context_length)
        prompt = reported_prompt_tokens(error)
        if prompt is None:
            known = await self._tokens.count(expert, chat)
            prompt = min(known.most, math.ceil(RESERVE * known.tokens))
            if known.method == "counted":
                prompt = known.tokens
        return context - prompt
