"""An expert as the `Ask` of prompt building: one whole answer, moments of trouble waited out.

Knows what `prompts.mixture` asks for; builds nothing itself.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any

from experts.client import ExpertClient, Reply
from experts.errors import (
    ContextTooLong,
    ExpertBadReply,
    ExpertBusy,
    ExpertError,
    ExpertTimeout,
    ExpertUnavailable,
)
from experts.expert import Expert
from prompts.mixture.call_budget import Completion, Messages, PromptTooLong

TRIES, PATIENT_TRIES = 3, 8
"""How often a request is sent at most: to an expert that has not answered anything yet or answers wrongly or
too late, and to one that has answered and is now busy or away, as while its server starts again."""
PAUSE_S, LONGEST_PAUSE_S = 0.5, 16.0
"""Before a request is sent again, doubled each time: `PATIENT_TRIES` wait three quarters of a minute."""
JITTER = 0.25
"""Share of a pause that is left to chance, so that not all requests come back at once."""

Usage = Mapping[str, Any]
"""The `usage` object of an answer, empty where the server sends none."""
Trouble = Callable[[ExpertError], None]
"""Hears of each failure after which a request is sent again."""


class ExpertAsk:
    """Asks one expert through the pooled client. `tell` hears the usage of every answer, `trouble` what is
    being waited out; `pause_s` is the first pause."""

    def __init__(
        self,
        client: ExpertClient,
        expert: Expert,
        *,
        tell: Callable[[Usage], None] | None = None,
        trouble: Trouble | None = None,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._client = client
        self._expert = expert
        self._tell = tell
        self._trouble = trouble
        self._pause_s = pause_s
        self._answered = False

    async def __call__(
        self, messages: Messages, *, max_tokens: int, temperature: float, seed: int
    ) -> Completion:
        """Raises PromptTooLong, and `experts.errors` when trying again does not help."""
        body: dict[str, Any] = {
            "messages": [dict(message) for message in messages],
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        if temperature > 0:
            # Greedy answers need none, and vLLM 0.32's CPU engine dies of a seeded request whose prompt it
            # reads in chunks, as it does under load ("CPU Generator does not use offset").
            body["seed"] = seed
        answer = (await self._patiently(body)).body
        told = answer.get("usage")
        usage: Usage = told if isinstance(told, dict) else {}
        if self._tell is not None:
            self._tell(usage)
        content = answer["choices"][0]["message"].get("content")
        return Completion(
            content if isinstance(content, str) else "",
            _count(usage.get("prompt_tokens")),
            _count(usage.get("completion_tokens")),
        )

    async def _patiently(self, body: Mapping[str, Any]) -> Reply:
        tried = 0
        while True:
            tried += 1
            try:
                reply = await self._client.complete(self._expert, body)
            except ContextTooLong as error:
                self._answered = True
                raise PromptTooLong from error
            except (ExpertUnavailable, ExpertBusy, ExpertTimeout, ExpertBadReply) as error:
                if tried >= self._tries(error):
                    raise
                if self._trouble is not None:
                    self._trouble(error)
                await asyncio.sleep(self._pause(tried))
            else:
                self._answered = True
                return reply

    def _tries(self, error: ExpertError) -> int:
        away = isinstance(error, ExpertUnavailable | ExpertBusy)
        return PATIENT_TRIES if away and self._answered else TRIES

    def _pause(self, tried: int) -> float:
        """Seconds to wait after `tried` tries."""
        whole: float = min(self._pause_s * 2 ** (tried - 1), LONGEST_PAUSE_S)
        return whole * (1 - JITTER * random.random())


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
