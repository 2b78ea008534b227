"""Which expert has a conversation: by the client's own name for it, or by what its messages say.

Marks (`app.serving.message_chain`) are cached for what was used lately, by all workers of a service together,
and read from storage otherwise, so that a conversation survives a restart and goes on at another service with
the same database.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from app.serving.message_chain import ConversationTurn, MessageChain, OpenCalls
from app.serving.recent_experts import ConversationMemory, RecentExperts, Seen, own_memory
from app.storage import queries
from app.storage.database import Database
from app.storage.rows import DecisionRow, Mark
from routers.decision import Classification
from routers.request import Hold

LOOKUP_TIMEOUT_S = 1.0
"""Timeout of the lookup in storage."""
MAX_PREFIXES = 64
"""Prefixes of a request that are looked for, the longest first."""
MAX_CALLS, MAX_STATES = 64, 1_024
"""Tool calls of one answer, and pieces of provider state in a request, that are looked for. An agent's
conversation has a piece in every step; those beyond the bound are nobody's, and are left out."""
DELETE_BATCH, MAX_DELETE_BATCHES = 5_000, 100
"""Marks that are deleted in one transaction, and transactions in a row."""
RETENTION = timedelta(days=30)
"""Marks that nobody has seen for longer are deleted."""
CLEANUP_INTERVAL_S = 3_600.0
"""Seconds between two deletions of old marks."""

log = structlog.get_logger(__name__)

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a request goes on with. `expert` has the conversation, None: nobody has, or not any more;
    `prefix_share` is the share of the prompt that it has read already, `replica` where; `makers`: whose the
    provider state in the request is, where that is known."""

    expert: str | None = None
    category: str | None = None
    prefix_share: float = 0.0
    hold: Hold | None = None
    makers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    replica: str | None = None


class Conversations:
    """A conversation belongs to its caller: two API keys may say the same, and use the same name, in
    different ones."""

    def __init__(
        self,
        database: Database,
        bound: int,
        *,
        memory: ConversationMemory | None = None,
        idle_s: float = 3_600,
        cleanup_interval_s: float = CLEANUP_INTERVAL_S,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`bound`: conversations, and as many decisions, in the cache; of each the least recently used ones
        are evicted. `memory`: instead of a cache of this process alone. After `idle_s` seconds without an
        answer a conversation is nobody's: its prefix cache is gone. Old marks are deleted every
        `cleanup_interval_s` seconds between `start` and `stop`."""
        self._database = database
        self._idle = timedelta(seconds=idle_s)
        self._cleanup_interval_s = cleanup_interval_s
        self._clock = clock
        self._cleanup: asyncio.Task[None] | None = None
        self._reading: set[asyncio.Task[Any]] = set()
        """Look-ups that run, those that nobody waits for any more included."""
        self._stopped = asyncio.Event()
        self._memory = memory = memory or own_memory(bound)
        self._by_name, self._by_decision, self._by_mark = memory.by_name, memory.by_decision, memory.by_mark

    async def continuation(
        self,
        chain: MessageChain,
        api_key: str | None = None,
        conversation: str | None = None,
        previous_decision: str | None = None,
    ) -> Continuation:
        """What the request of `chain` goes on with. The expert of an open tool call is found whenever it was
        made; any other only while the conversation is not idle."""
        named = await self._named(api_key, conversation, previous_decision)
        calls, state = chain.open_calls(), chain.state()[:MAX_STATES]
        prefixes = chain.prefix_marks(MAX_PREFIXES)
        exchange = chain.exchange_mark()
        state_marks = {value: chain.state_mark(value) for value in state}
        marks = [mark for mark, _ in prefixes]
        marks += [exchange] if exchange is not None else []
        marks += _call_marks(chain, calls)
        if marks and marks[0] in self._by_mark:
            # The last answer was given here, and all else of its conversation is known by it.
            marks = []
        await self._read_marks([*marks, *state_marks.values()])
        makers = {
            value: found[0].expert
            for value, mark in state_marks.items()
            if (found := self._by_mark.get(mark))
        }
        if calls is not None and (maker := self._maker(chain, calls, named)) is not None:
            share = 1.0 if calls.made_at is None else chain.prefix_share(calls.made_at + 1)
            return Continuation(maker.expert, maker.category, share, "tool_call", makers, maker.replica)
        current, share = self._current(chain, prefixes, exchange, named)
        if current is None or self._clock() - current.at > self._idle:
            return Continuation(makers=makers)
        hold: Hold | None = "provider_state" if current.expert in makers.values() else None
        return Continuation(current.expert, current.category, share, hold, makers, current.replica)

    def remember(
        self,
        chain: MessageChain,
        api_key: str | None,
        conversation: str | None,
        decision_id: str,
        seen: tuple[str, str | None],
        answers: Iterable[ConversationTurn] = (),
        replica: str | None = None,
    ) -> tuple[Mark, ...]:
        """An expert (`seen`: its name, and the sure category) has said `answers` so far, at its `replica`
        where it has several. Returns what storage has to keep."""
        now = Seen(*seen, self._clock(), replica)
        marks = _marks_of(chain, answers)
        name = None if conversation is None else (api_key, conversation)
        self._memory.put(now, (api_key, decision_id), name, marks)
        return tuple(Mark(mark, now.expert, now.category, now.at, replica) for mark in marks)

    async def start(self) -> None:
        """Delete old marks in the background: at once, and regularly from then on."""
        self._stopped.clear()
        self._cleanup = asyncio.create_task(self._delete_regularly(), name="old conversation marks")

    async def stop(self) -> None:
        """End the deletions after the present transaction. Idempotent."""
        self._stopped.set()
        if self._cleanup is not None:
            await self._cleanup
            self._cleanup = None

    async def _delete_regularly(self) -> None:
        while not self._stopped.is_set():
            await self._delete_old()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._cleanup_interval_s):
                    await self._stopped.wait()

    async def _delete_old(self) -> None:
        """Delete marks in storage that are long out of use, in pieces that take a moment each; what is left
        after the last piece is for the next time."""
        before = self._clock() - RETENTION

        async def delete(session: AsyncSession) -> int:
            return await queries.delete_old_marks(session, before, bound=DELETE_BATCH)

        for _ in range(MAX_DELETE_BATCHES):
            if (await self._stored(delete) or 0) < DELETE_BATCH or self._stopped.is_set():
                return

    async def _named(
        self, api_key: str | None, conversation: str | None, previous_decision: str | None
    ) -> Seen | None:
        """Who answered last in what the client names."""
        found = None
        if conversation is not None:
            read = queries.last_of_conversation
            found = await self._find(self._by_name, (api_key, conversation), read)
        if found is None and previous_decision is not None:
            found = await self._find(self._by_decision, (api_key, previous_decision), queries.decision_of)
        return found

    async def _find(
        self,
        recent: RecentExperts[tuple[str | None, str]],
        key: tuple[str | None, str],
        read: Callable[[AsyncSession, str, str | None], Awaitable[DecisionRow | None]],
    ) -> Seen | None:
        if cached := recent.get(key):
            return cached[0]
        row = await self._stored(lambda session: read(session, key[1], key[0]))
        if row is None:
            return None
        sure = row.category if row.classification != Classification.UNCLASSIFIED else None
        at = row.created_at + timedelta(milliseconds=row.latency_ms or 0)
        found = Seen(row.expert, sure, at, None if row.replica is None else row.replica.get("id"))
        recent.put([key], found)
        return found

    async def _read_marks(self, marks: Sequence[str]) -> None:
        """Bring what storage has of them into the cache."""
        missing = [mark for mark in dict.fromkeys(marks) if mark not in self._by_mark]
        if not missing:
            return
        for row in await self._stored(lambda session: queries.marks_of(session, missing)) or ():
            self._by_mark.put([row.mark], Seen(row.expert, row.category, row.seen_at, row.replica))

    async def _stored(self, read: Callable[[AsyncSession], Awaitable[Found]]) -> Found | None:
        reading = asyncio.create_task(self._read(read))
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)
        try:
            done, _ = await asyncio.wait({reading}, timeout=LOOKUP_TIMEOUT_S)
        finally:
            # Nobody waits for its end: where the server is silent the driver takes ten seconds to give up.
            reading.cancel()
        if done:
            return reading.result()
        log.warning("conversation_lookup_failed", error=TimeoutError.__name__)
        return None

    async def _read(self, read: Callable[[AsyncSession], Awaitable[Found]]) -> Found | None:
        try:
            async with self._database.session() as session:
                return await read(session)
        except (SQLAlchemyError, OSError) as error:  # TimeoutError is an OSError
            # Without its history a request is routed as the first of its conversation.
            log.warning("conversation_lookup_failed", error=type(error).__name__)
            return None

    def _current(
        self,
        chain: MessageChain,
        prefixes: Sequence[tuple[str, int]],
        exchange: str | None,
        named: Seen | None,
    ) -> tuple[Seen | None, float]:
        """The expert of the longest beginning that is known, and the share of the request that it is; else of
        the name, else of the last exchange, whose beginning the client has cut off."""
        for mark, turns in prefixes:
            if seen := self._by_mark.get(mark):
                return _preferred(seen, named), chain.prefix_share(turns)
        answered = prefixes[0][1] if prefixes else 0
        if named is not None:
            return named, chain.prefix_share(answered)
        if exchange is not None and (seen := self._by_mark.get(exchange)):
            return seen[0], chain.prefix_share(answered)
        return None, 0.0

    def _maker(self, chain: MessageChain, calls: OpenCalls, named: Seen | None) -> Seen | None:
        """Who made the open calls. The answer in its place tells best, then an id in this place, then the
        answer by itself, then an id alone, then the question; where several experts come into question, what
        follows decides between them."""
        possible: list[Seen] = []
        for mark in _call_marks(chain, calls):
            seen = self._by_mark.get(mark)
            if not possible:
                possible = list(seen)
            else:
                names = {each.expert for each in seen}
                possible = [each for each in possible if each.expert in names] or possible
            if len(possible) == 1:
                return possible[0]
        if not possible and (exchange := chain.exchange_mark()) is not None:
            possible = list(self._by_mark.get(exchange))
        return _preferred(possible, named) if possible else named


def _call_marks(chain: MessageChain, calls: OpenCalls | None) -> list[str]:
    """By what the maker of open calls is found, the surest first."""
    if calls is None:
        return []
    ids = calls.ids[:MAX_CALLS]
    alone = [chain.call_mark(call_id) for call_id in ids]
    if calls.made_at is None:
        return alone
    answer, question = chain.mark_after(calls.made_at), chain.mark_before(calls.made_at)
    made = chain.turns[calls.made_at]
    itself = [*(chain.state_mark(value) for value in made.state[:MAX_STATES]), chain.turn_mark(made)]
    here = [] if question is None else [chain.call_mark_after_prefix(call_id, question) for call_id in ids]
    return [
        *([] if answer is None else [answer]),
        *here,
        *itself,
        *alone,
        *([] if question is None else [question]),
    ]


def _marks_of(chain: MessageChain, answers: Iterable[ConversationTurn]) -> list[str]:
    """By what a conversation is recognised after `answers`."""
    question = chain.request_mark
    found: list[str | None] = [question]
    for answer in answers:
        found += [chain.answer_mark(answer), chain.exchange_mark(answer)]
        if answer.calls:
            found.append(chain.turn_mark(answer))
        for call in answer.calls[:MAX_CALLS]:
            if call.id is not None:
                here = None if question is None else chain.call_mark_after_prefix(call.id, question)
                found += [here, chain.call_mark(call.id)]
        found += [chain.state_mark(value) for value in answer.state[:MAX_STATES]]
    return list(dict.fromkeys(mark for mark in found if mark is not None))


def _preferred(seen: Sequence[Seen], named: Seen | None) -> Seen:
    """The one of `seen` that the client's name stands for too; else the latest."""
    if named is not None:
        for each in seen:
            if each.expert == named.expert:
                return each
    return seen[0]
