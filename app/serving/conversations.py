"""Which expert a conversation is with: remembered here for the recent ones, read from storage else."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from app.storage import queries
from app.storage.database import Database

Key = tuple[str | None, str]
"""A caller's key label and its name of a conversation, or a decision's id."""

LOOKUP_S = 1.0
"""A request does not wait longer than this to learn its conversation's expert."""

log = structlog.get_logger(__name__)


class Conversations:
    """A conversation belongs to its caller: two API keys may use the same name for different ones."""

    def __init__(self, database: Database, bound: int) -> None:
        """`bound`: conversations, and decisions, held in memory; the longest unused leaves first."""
        self._database = database
        self._by_conversation = _Recent(bound)
        self._by_decision = _Recent(bound)

    async def current_expert(
        self, api_key: str | None, conversation: str | None, previous_decision: str | None
    ) -> str | None:
        """The expert of the conversation's last answer; None in a new one, or without either name."""
        expert = None
        if conversation is not None:
            expert = await self._find(
                self._by_conversation,
                (api_key, conversation),
                lambda session: queries.last_expert(session, conversation, api_key),
            )
        if expert is None and previous_decision is not None:
            expert = await self._find(
                self._by_decision,
                (api_key, previous_decision),
                lambda session: queries.expert_of(session, previous_decision, api_key),
            )
        return expert

    def remember(self, api_key: str | None, conversation: str | None, decision_id: str, expert: str) -> None:
        """An expert has begun to answer."""
        self._by_decision.put((api_key, decision_id), expert)
        if conversation is not None:
            self._by_conversation.put((api_key, conversation), expert)

    async def _find(
        self, recent: "_Recent", key: Key, read: Callable[[AsyncSession], Awaitable[str | None]]
    ) -> str | None:
        if key in recent:
            return recent.get(key)
        try:
            async with asyncio.timeout(LOOKUP_S), self._database.session() as session:
                found = await read(session)
        except (SQLAlchemyError, OSError) as error:  # TimeoutError is an OSError
            # Without its history a request is routed as the first of its conversation.
            log.warning("conversation_lookup_failed", error=type(error).__name__)
            return None
        if key not in recent:
            recent.put(key, found)
        return recent.get(key)


class _Recent:
    """The most recently used keys, each with an expert, or None when storage has none."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._experts: OrderedDict[Key, str | None] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        return key in self._experts

    def get(self, key: Key) -> str | None:
        self._experts.move_to_end(key)
        return self._experts[key]

    def put(self, key: Key, expert: str | None) -> None:
        self._experts[key] = expert
        self._experts.move_to_end(key)
        while len(self._experts) > self._bound:
            self._experts.popitem(last=False)
