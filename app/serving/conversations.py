"""The current expert of each conversation: cached for recent ones, read from storage otherwise."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from app.storage import queries
from app.storage.database import Database

Key = tuple[str | None, str]
"""A caller's key label, and its name of a conversation or a decision's id."""

LOOKUP_S = 1.0
"""Timeout of the lookup in storage."""

log = structlog.get_logger(__name__)


class Conversations:
    """A conversation belongs to its caller: two API keys may use the same name for different ones."""

    def __init__(self, database: Database, bound: int) -> None:
        """`bound`: conversations, and as many decisions, in the cache; of each the least recently used ones
        are evicted."""
        self._database = database
        self._by_conversation = _Recent(bound)
        self._by_decision = _Recent(bound)

    async def current_expert(
        self, api_key: str | None, conversation: str | None, previous_decision: str | None
    ) -> str | None:
        """The expert of the conversation's last answer; None in a new one, or without either name."""
        expert = None
        if conversation is not None:
            expert = await self._find(self._by_conversation, (api_key, conversation), queries.last_expert)
        if expert is None and previous_decision is not None:
            expert = await self._find(self._by_decision, (api_key, previous_decision), queries.expert_of)
        return expert

    def remember(self, api_key: str | None, conversation: str | None, decision_id: str, expert: str) -> None:
        """An expert has begun to answer."""
        self._by_decision.put((api_key, decision_id), expert)
        if conversation is not None:
            self._by_conversation.put((api_key, conversation), expert)

    async def _find(
        self,
        recent: "_Recent",
        key: Key,
        read: Callable[[AsyncSession, str, str | None], Awaitable[str | None]],
    ) -> str | None:
        if key not in recent:
            api_key, name = key
            try:
                async with asyncio.timeout(LOOKUP_S), self._database.session() as session:
                    found = await read(session, name, api_key)
            except (SQLAlchemyError, OSError) as error:  # TimeoutError is an OSError
                # Without its history a request is routed as the first of its conversation.
                log.warning("conversation_lookup_failed", error=type(error).__name__)
                return None
            if key not in recent:
                recent.put(key, found)
        recent.move_to_end(key)
        return recent[key]


class _Recent(OrderedDict[Key, str | None]):
    """Experts by what was used last; None: storage has none."""

    def __init__(self, bound: int) -> None:
        super().__init__()
        self._bound = bound

    def put(self, key: Key, expert: str | None) -> None:
        self[key] = expert
        self.move_to_end(key)
        while len(self) > self._bound:
            self.popitem(last=False)
