"""The answer of a strategy on its way to the client: streamed chunk by chunk, or whole.

Nothing sent is ever taken back: an answer begins once, with one expert.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from app.strategies.chunks import Chunk, without_logprobs
from app.strategies.expert_calls import ExpertAnswer, OpenAnswer
from experts.chat_replies import completion_chunks

QUEUE = 64
"""Chunks that may wait for a slow client."""


class AlreadyAnswered(Exception):
    """A strategy began a second answer."""


class AnswerOutput:
    """One request's answer."""

    def __init__(self, *, stream: bool, logprobs: bool) -> None:
        """`stream`: the client streams; `logprobs`: it asked for log-probabilities."""
        self.stream = stream
        self.expert: str | None = None
        """The answering expert, once the answer has begun."""
        self.whole = False
        """Whether the answer is complete."""
        self.completion: dict[str, Any] | None = None
        """The whole answer, for a client that does not stream."""
        self.envelope: Mapping[str, Any] = {}
        self._keep_logprobs = logprobs
        self._queue: asyncio.Queue[Chunk | None] = asyncio.Queue(QUEUE)

    @property
    def begun(self) -> bool:
        return self.expert is not None

    async def say(self, said: ExpertAnswer) -> None:
        """A whole answer."""
        self._begin(said.expert)
        if not self.stream:
            self.completion = self._cleaned(said.completion)
        else:
            for chunk in completion_chunks(said.completion):
                if chunk["choices"]:
                    await self._put(chunk)
        self.whole = True

    async def follow(self, live: OpenAnswer) -> None:
        """An answer that is still coming: what was held back, then the rest as it comes."""
        if not self.stream:
            await self.say(await live.rest())
            return
        self._begin(live.expert)
        for chunk in list(live.chunks):
            await self._put(chunk)
        while (following := await live.read()) is not None:
            await self._put(following)
        self.whole = True

    async def next(self) -> Chunk | None:
        """The next chunk for the client; None after the last one."""
        return await self._queue.get()

    async def end(self) -> None:
        """No chunk comes any more."""
        await self._queue.put(None)

    def _begin(self, expert: str) -> None:
        if self.begun:
            raise AlreadyAnswered(f"{self.expert} answers already; {expert} cannot")
        self.expert = expert

    async def _put(self, chunk: Chunk) -> None:
        if not self.envelope:
            self.envelope = chunk
        await self._queue.put(self._cleaned(chunk))

    def _cleaned(self, document: dict[str, Any]) -> dict[str, Any]:
        return document if self._keep_logprobs else without_logprobs(document)
