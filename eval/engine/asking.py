"""Asking contestants: through the cache, bounded for each server, every answer asked for once.

Knows nothing of benchmarks, judges or Inspect.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from base.reply import AskError
from client import AsyncClient, RetryPolicy
from eval.answers import answer_key
from eval.engine.cache import Cache, Reply
from eval.engine.contestants import Contestant
from eval.service import complete

T = TypeVar("T")

GIVE_UP_AFTER = 5
"""So many failures in a row by the server's own fault, and a contestant is asked nothing more in this run."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A reply, and whether it was kept from before rather than asked for now."""

    reply: Reply
    cached: bool


@dataclass(slots=True)
class _Server:
    api: AsyncClient
    slots: asyncio.Semaphore


class Asker:
    """Asks contestants; what the cache holds is not asked again.

    Hold `open()` around asking: connections live while anybody does, in the event loop of that time, so
    one asker may serve several loops one after the other. `concurrency` bounds the requests in flight to
    each server; `retries` is how patiently each is tried.
    """

    def __init__(self, cache: Cache, *, concurrency: int = 8, retries: RetryPolicy | None = None) -> None:
        self._cache = cache
        self._concurrency = concurrency
        self._retries = retries or RetryPolicy()
        self._holders = 0
        self._servers: dict[tuple[str, str | None], _Server] = {}
        self._in_flight: dict[str, asyncio.Future[Asked]] = {}
        self._failures: Counter[str] = Counter()
        self._last_failure: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        """Answers that were asked for, by the contestant's name."""
        self.cached: Counter[str] = Counter()
        """Answers that the cache held."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Keep connections; the last holder closes them."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                servers, self._servers = self._servers, {}
                self._in_flight.clear()
                for server in servers.values():
                    await server.api.close()

    async def ask(
        self,
        contestant: Contestant,
        messages: Sequence[Mapping[str, str]],
        sampling: Mapping[str, Any],
    ) -> Asked:
        """The contestant's answer; the same question asked twice at once goes out once.

        Raises:
            AskError: refused, unavailable after all tries, or answered by another composition than the
                run's.
        """
        body = {**sampling, **contestant.extra}
        who = {"server": contestant.base, "model": contestant.model, **contestant.identity}
        key = answer_key(who, messages, body)
        kept = self._cache.get(key)
        if kept is not None:
            self.cached[contestant.name] += 1
            return Asked(kept, cached=True)
        waiting = self._in_flight.get(key)
        if waiting is not None:
            return Asked((await asyncio.shield(waiting)).reply, cached=True)
        future: asyncio.Future[Asked] = asyncio.get_running_loop().create_future()
        self._in_flight[key] = future
        try:
            asked = Asked(await self._ask(contestant, messages, body), cached=False)
            self._cache.add(key, asked.reply, server=contestant.base, model=contestant.model)
        except BaseException as error:
            if isinstance(error, AskError):
                future.set_exception(error)
                future.exception()  # read, so that nobody's waiting for it is no warning
            else:
                future.cancel()
            raise
        finally:
            self._in_flight.pop(key, None)
        future.set_result(asked)
        self.asked[contestant.name] += 1
        return asked

    async def _ask(
        self, contestant: Contestant, messages: Sequence[Mapping[str, str]], body: Mapping[str, Any]
    ) -> Reply:
        server = await self._server(contestant)
        async with server.slots:
            if self._failures[contestant.name] >= GIVE_UP_AFTER:
                raise AskError(
                    "not_asked",
                    f"not asked: {contestant.name} failed {GIVE_UP_AFTER} times in a row, "
                    f"the last time with {self._last_failure.get(contestant.name)}",
                    unavailable=True,
                )
            try:
                found = await complete(server.api, contestant.model, messages, body)
            except AskError as error:
                self._failures[contestant.name] += error.unavailable
                self._last_failure[contestant.name] = error.code
                raise
        self._failures[contestant.name] = 0
        decided_by = found.decision.composition if found.decision else None
        wanted = contestant.composition
        if wanted is not None and decided_by and decided_by != wanted:
            raise AskError(
                "composition_changed",
                f"composition {decided_by} answered; this run is about {wanted}",
                unavailable=True,
            )
        return Reply(
            text=found.text,
            finish_reason=found.finish_reason,
            prompt_tokens=found.usage.prompt,
            completion_tokens=found.usage.completion,
            latency_s=round(found.latency_s, 4),
            routing=found.decision.document() if found.decision else None,
        )

    async def _server(self, contestant: Contestant) -> _Server:
        if not self._holders:
            raise AskError("not_open", "ask within `async with asker.open()`")
        place = (contestant.base, contestant.api_key)
        server = self._servers.get(place)
        if server is None:
            api = AsyncClient(
                contestant.base,
                key=contestant.api_key,
                retries=self._retries,
                connections=self._concurrency,
            )
            server = _Server(api, asyncio.Semaphore(self._concurrency))
            self._servers[place] = server
        return server


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all of `work`, done at once; the first that fails stops the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as failed:
        error: Exception = failed
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        raise error from None
    return [task.result() for task in tasks]
