"""Who answered lately, in the memory of all workers: what one of them puts there, each of them gets."""

import hashlib
from collections.abc import Hashable, Iterable
from datetime import UTC, datetime
from typing import Generic, TypeVar

import orjson

from app.serving.recent_experts import MARKS_PER_CONVERSATION, ConversationMemory, Seen, with_seen
from app.storage.shared_store import RecentEntries, SharedStore
from base.json_documents import json_digest

KEY_BYTES = 16

K = TypeVar("K", bound=Hashable)


def shared_memory(store: SharedStore, conversations: int) -> ConversationMemory:
    """For so many conversations of all workers together."""
    return ConversationMemory(
        SharedRecentExperts(store, "names", conversations),
        SharedRecentExperts(store, "decisions", conversations),
        SharedRecentExperts(store, "marks", conversations * MARKS_PER_CONVERSATION),
    )


class SharedRecentExperts(Generic[K]):
    def __init__(self, store: SharedStore, name: str, bound: int) -> None:
        self._entries = RecentEntries(store, name, bound)

    def __contains__(self, key: K) -> bool:
        return self._entries.get(_digest(key)) is not None

    def get(self, key: K) -> tuple[Seen, ...]:
        return _read(self._entries.get(_digest(key)))

    def put(self, keys: Iterable[K], seen: Seen) -> None:
        self._entries.change(
            (_digest(key) for key in keys), lambda known: _written(with_seen(_read(known), seen))
        )


def _digest(key: Hashable) -> bytes:
    text = key if isinstance(key, str) else json_digest(key)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def _written(seen: tuple[Seen, ...]) -> bytes:
    return orjson.dumps([(each.expert, each.category, each.at.timestamp()) for each in seen])


def _read(value: bytes | None) -> tuple[Seen, ...]:
    if value is None:
        return ()
    return tuple(
        Seen(expert, category, datetime.fromtimestamp(at, UTC))
        for expert, category, at in orjson.loads(value)
    )
