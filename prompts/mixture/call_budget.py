"""How a build asks the model: a bounded number at once, nothing twice, never more than agreed, all billed.

`Ask` is the whole of what a build knows of models. Knows nothing of HTTP.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from base.reply import Reply
from base.task_groups import together
from prompts.mixture.mixture import MixtureError

Messages = Sequence[Mapping[str, str]]


class PromptTooLong(Exception):
    """Raised by an `Ask`: the model's context does not hold these messages and the answer."""


class Ask(Protocol):
    """Anything that answers chat messages. Raises PromptTooLong when they do not fit; what else it raises
    ends the build."""

    async def __call__(
        self, messages: Messages, *, max_tokens: int, temperature: float, seed: int
    ) -> Reply: ...


@dataclass(frozen=True, slots=True)
class Call:
    """One question to the model."""

    messages: tuple[Mapping[str, str], ...]
    max_tokens: int
    temperature: float
    seed: int

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two questions the same question."""
        said = tuple((message["role"], message["content"]) for message in self.messages)
        return said, self.max_tokens, self.temperature, self.seed


@dataclass(frozen=True, slots=True)
class PrefixCache:
    """Prompt tokens that a server looked up in its prefix cache, and those that it found there."""

    queries: int
    hits: int

    @property
    def hit_rate(self) -> float:
        """Share of prompt tokens that were not computed again, 0..1; 0 without queries."""
        return self.hits / self.queries if self.queries else 0.0

    def since(self, before: "PrefixCache") -> "PrefixCache | None":
        """What came after `before`; None when the server was started again in between."""
        queries, hits = self.queries - before.queries, self.hits - before.hits
        return PrefixCache(queries, hits) if 0 <= hits <= queries else None


@dataclass(frozen=True, slots=True)
class Bill:
    """What a build cost. `calls` went to the model; `cached` were answered from disk. Tokens are those of
    both together, so that a resumed build shows what the whole of it takes; seconds are this run's."""

    calls: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    empty: int = 0
    too_long: int = 0
    prefix_cache: PrefixCache | None = None


Progress = Callable[[str, int, int], None]
"""(what is going on, calls done, calls of this step): for a progress bar."""

TOO_LONG = None
"""What `Asking.all` has in place of an answer when a call did not fit the context."""


class Asking:
    """One build's calls. Belongs to one event loop.

    `max_calls` counts cached answers too: a resumed build decides like one that was never stopped.
    """

    def __init__(
        self, ask: Ask, *, concurrency: int, max_calls: int, progress: Progress | None = None
    ) -> None:
        self._ask = ask
        self._slots = asyncio.Semaphore(concurrency)
        self._max_calls = max_calls
        self._progress = progress
        self._known: dict[tuple[object, ...], Reply | None] = {}
        self._started = time.monotonic()

    @property
    def made(self) -> int:
        """Calls so far, cached ones included."""
        return len(self._known)

    @property
    def bill(self) -> Bill:
        """What the calls so far cost."""
        replies = [each for each in self._known.values() if each is not None]
        cached = sum(each.kept for each in replies)
        return Bill(
            calls=self.made - cached,
            cached=cached,
            prompt_tokens=sum(each.usage.prompt or 0 for each in replies),
            completion_tokens=sum(each.usage.completion or 0 for each in replies),
            seconds=round(time.monotonic() - self._started, 3),
            empty=sum(not each.text.strip() for each in replies),
            too_long=self.made - len(replies),
        )

    async def all(self, stage: str, calls: Sequence[Call]) -> list[Reply | None]:
        """The answers to `calls`, in their order; None for those that did not fit the context.

        Calls are begun in the given order: calls that share their first messages should be neighbours.
        The first failure ends the others and is raised as it is. Raises MixtureError when the calls are
        more than what is left of `max_calls`.
        """
        new = {call.key: call for call in calls if call.key not in self._known}
        if self.made + len(new) > self._max_calls:
            raise MixtureError(f"{stage} takes {len(new)} calls beyond the {self.made} made: raise max_calls")
        done, failed = 0, False
        self._tell(stage, done, len(new))

        async def answer(key: tuple[object, ...], call: Call) -> None:
            nonlocal done, failed
            async with self._slots:
                if failed:  # the slot of a call that failed: nothing more is begun
                    return
                try:
                    self._known[key] = await self._ask(
                        call.messages,
                        max_tokens=call.max_tokens,
                        temperature=call.temperature,
                        seed=call.seed,
                    )
                except PromptTooLong:
                    self._known[key] = TOO_LONG
                except Exception:
                    failed = True
                    raise
            done += 1
            self._tell(stage, done, len(new))

        await together(answer(key, call) for key, call in new.items())
        return [self._known[call.key] for call in calls]

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(stage, done, total)
