"""The current expert of each conversation: cached for recent ones, read from storage otherwise."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from app.storage import queries
from app.storage.database import Database

Key = tuple[str, str | None, str]
"""What is named (a conversation, or a decision), by which caller's key, and its name."""

LOOKUP_S = 1.0
"""Timeout of the lookup in storage."""

log = structlog.get_logger(__name__)


class Conversations:
    """A conversation belongs to its caller: two API keys may use the same name for different ones."""

    def __init__(self, database: Database, bound: int) -> None:
        """`bound`: conversations, and as many decisions, in the cache; least recently used ones are
        evicted."""
        self._database = database
        self._bound = 2 * bound
        self._experts: OrderedDict[Key, str | None] = OrderedDict()
        """None: storage has none."""

    async def current_expert(
        self, api_key: str | None, conversation: str | None, previous_decision: str | None
    ) -> str | None:
        """The expert of the conversation's last answer; None in a new one, or without either name."""
        expert = None
        if conversation is not None:
            expert = await self._find(("conversation", api_key, conversation), queries.last_expert)
        if expert is None and previous_decision is not None:
            expert = await self._find(("decision", api_key, previous_decision), queries.expert_of)
        return expert

    def remember(self, api_key: str | None, conversation: str | None, decision_id: str, expert: str) -> None:
        """An expert has begun to answer."""
        self._put(("decision", api_key, decision_id), expert)
        if conversation is not None:
            self._put(("conversation", api_key, conversation), expert)

    async def _find(
        self, key: Key, read: Callable[[AsyncSession, str, str | None], Awaitable[str | None]]
    ) -> str | None:
        if key not in self._experts:
            _, api_key, name = key
            try:
                async with asyncio.timeout(LOOKUP_S), self._database.session() as session:
                    found = await read(session, name, api_key)
            except (SQLAlchemyError, OSError) as error:  # TimeoutError is an OSError
                # Without its history a request is routed as the first of its conversation.
                log.warning("conversation_lookup_failed", error=type(error).__name__)
                return None
            if key not in self._experts:
                self._put(key, found)
        self._experts.move_to_end(key)
        return self._experts[key]

    def _put(self, key: Key, expert: str | None) -> None:
        self._experts[key] = expert
        self._experts.move_to_end(key)
        while len(self._experts) > self._bound:
            self._experts.popitem(last=False)
