"""An expert as the `Ask` of prompt building: one whole answer, moments of trouble waited out.

Knows what `prompts.mixture` asks for; builds nothing itself.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from experts.client import ExpertClient, Reply
from experts.errors import ContextTooLong, ExpertBadReply, ExpertBusy, ExpertTimeout, ExpertUnavailable
from experts.expert import Expert
from prompts.mixture.asking import Completion, Messages, PromptTooLong

TRIES, PAUSE_S = 3, 0.5
"""How often a request is sent at most, and the seconds before it is sent again, doubled each time."""

Usage = Mapping[str, Any]
"""The `usage` object of an answer, empty where the server sends none."""


class ExpertAsk:
    """Asks one expert through the pooled client. `tell` hears the usage of every answer."""

    def __init__(
        self, client: ExpertClient, expert: Expert, *, tell: Callable[[Usage], None] | None = None
    ) -> None:
        self._client = client
        self._expert = expert
        self._tell = tell

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
        for attempt in range(TRIES):
            try:
                return await self._client.complete(self._expert, body)
            except ContextTooLong as error:
                raise PromptTooLong from error
            except (ExpertUnavailable, ExpertBusy, ExpertTimeout, ExpertBadReply):
                if attempt == TRIES - 1:
                    raise
                await asyncio.sleep(PAUSE_S * 2**attempt)
        raise AssertionError("unreachable")


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
