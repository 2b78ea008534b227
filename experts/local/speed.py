"""The speed of an expert, from short streams: tokens a second of one answer, and of as many at once as its
server takes."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experts.chat_shapes import TEXTS
from experts.client import ExpertClient
from experts.errors import ExpertError
from experts.expert import Expert
from experts.stream_events import StreamEvent

PROBE_S = 4.0
"""Seconds for one answer alone, and again for those at once."""
MAX_TOKENS = 256
QUESTION = "Explain step by step how to plan a journey of {days} days by train."
"""Each stream asks for another number of days."""


@dataclass(frozen=True, slots=True)
class Speed:
    """`first_token_s`: seconds to the first text of an answer alone; `tokens_per_s`: its tokens a second from
    then on; `together_per_s`: tokens a second of `streams` answers at once, the reading of their prompts
    included. None: not known, since too little came in time."""

    first_token_s: float | None
    tokens_per_s: float | None
    together_per_s: float | None
    streams: int

    def answer_s(self, tokens: float) -> float | None:
        """Seconds for an answer of `tokens` alone; None when not known."""
        if self.first_token_s is None or self.tokens_per_s is None:
            return None
        return self.first_token_s + tokens / self.tokens_per_s


async def measure_speed(
    client: ExpertClient,
    expert: Expert,
    *,
    streams: int | None = None,
    seconds: float = PROBE_S,
    system: str | None = None,
) -> Speed:
    """The speed of `expert` with `streams` answers at once (default: all that its server takes), within twice
    `seconds`; what is not finished then is cancelled. `system`: a system prompt before each question. Raises
    `ExpertError`."""
    at_once = streams or expert.max_in_flight
    alone = _Answer()
    await _ask(client, expert, [alone], seconds, system)
    together = [_Answer(number) for number in range(1, at_once + 1)]
    began = time.monotonic()
    await _ask(client, expert, together, seconds, system)
    last = max((answer.last for answer in together if answer.last is not None), default=began)
    tokens = sum(answer.tokens for answer in together)
    return Speed(
        first_token_s=alone.first_token_s,
        tokens_per_s=alone.tokens_per_s,
        together_per_s=tokens / (last - began) if tokens and last > began else None,
        streams=at_once,
    )


@dataclass(slots=True)
class _Answer:
    """An answer that is being streamed; the first and the last text on the monotonic clock."""

    number: int = 0
    began: float = 0.0
    first: float | None = None
    last: float | None = None
    first_tokens: int = 0
    tokens: int = 0

    def grow(self, tokens: int) -> None:
        self.last = time.monotonic()
        if self.first is None:
            self.first, self.first_tokens = self.last, tokens
        self.tokens = tokens

    @property
    def first_token_s(self) -> float | None:
        return None if self.first is None else self.first - self.began

    @property
    def tokens_per_s(self) -> float | None:
        if self.first is None or self.last is None or self.last == self.first:
            return None
        return (self.tokens - self.first_tokens) / (self.last - self.first)


async def _ask(
    client: ExpertClient, expert: Expert, answers: Sequence[_Answer], seconds: float, system: str | None
) -> None:
    """Stream `answers` at once until all have ended or `seconds` are over. Raises the first `ExpertError`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            try:
                async with asyncio.TaskGroup() as group:
                    for answer in answers:
                        group.create_task(_stream(client, expert, answer, system))
            except* ExpertError as errors:
                error = errors.exceptions[0]
                while isinstance(error, BaseExceptionGroup):
                    error = error.exceptions[0]
                raise error from None


async def _stream(client: ExpertClient, expert: Expert, answer: _Answer, system: str | None) -> None:
    answer.began = time.monotonic()
    async with client.stream(expert, _body(answer.number, system)) as stream:
        events = 0
        async for batch in stream:
            events += sum(_has_text(event) for event in batch)
            # vLLM counts in each event, and may put several tokens into one.
            counted = (stream.usage or {}).get("completion_tokens")
            answer.grow(counted if isinstance(counted, int) else events)


def _has_text(event: StreamEvent) -> bool:
    choices = (event.chunk or {}).get("choices", ())
    return any(choice["delta"].get(name) for choice in choices for name in TEXTS)


def _body(number: int, system: str | None) -> dict[str, Any]:
    before = [] if system is None else [{"role": "system", "content": system}]
    return {
        "messages": [*before, {"role": "user", "content": QUESTION.format(days=number + 3)}],
        "max_tokens": MAX_TOKENS,
        "stream_options": {"continuous_usage_stats": True},
    }
