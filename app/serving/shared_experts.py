"""Who answered lately, in the memory of all workers: what one of them puts there, each of them gets."""

import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Generic, TypeVar

import orjson

from app.serving.recent_experts import (
    MARKS_PER_CONVERSATION,
    ConversationMemory,
    Owned,
    Seen,
    with_seen,
)
from app.storage.shared_store import RecentEntries, SharedStore

KEY_BYTES = 16

K = TypeVar("K", bound=Hashable)


class SharedMemory(ConversationMemory):
    """Of all workers together; what is known of an answer is put there in one transaction."""

    def __init__(self, store: SharedStore, conversations: int) -> None:
        entries = RecentEntries(store, "conversations", conversations * (2 + MARKS_PER_CONVERSATION))
        super().__init__(
            SharedRecentExperts(entries, partial(_owned, "name")),
            SharedRecentExperts(entries, partial(_owned, "decision")),
            SharedRecentExperts(entries, bytes.fromhex),  # marks are digests
        )
        self._entries = entries

    def put(self, seen: Seen, decision: Owned, name: Owned | None, marks: Sequence[str]) -> None:
        keys = [_owned("decision", decision), *map(bytes.fromhex, marks)]
        if name is not None:
            keys.append(_owned("name", name))
        _put(self._entries, keys, seen)


class SharedRecentExperts(Generic[K]):
    def __init__(self, entries: RecentEntries, key_of: Callable[[K], bytes]) -> None:
        self._entries = entries
        self._key_of = key_of

    def __contains__(self, key: K) -> bool:
        return self._entries.get(self._key_of(key)) is not None

    def get(self, key: K) -> tuple[Seen, ...]:
        return _read(self._entries.get(self._key_of(key)))

    def put(self, keys: Iterable[K], seen: Seen) -> None:
        _put(self._entries, [self._key_of(key) for key in keys], seen)


def _put(entries: RecentEntries, keys: Sequence[bytes], seen: Seen) -> None:
    alone = _written((seen,))
    entries.change(keys, lambda known: alone if known is None else _written(with_seen(_read(known), seen)))


def _owned(kind: str, key: Owned) -> bytes:
    text = f"{kind} {key!r}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=KEY_BYTES).digest()


def _written(seen: tuple[Seen, ...]) -> bytes:
    return orjson.dumps([(each.expert, each.category, each.at.timestamp(), each.replica) for each in seen])


def _read(value: bytes | None) -> tuple[Seen, ...]:
    if value is None:
        return ()
    return tuple(
        Seen(expert, category, datetime.fromtimestamp(at, UTC), replica)
        for expert, category, at, replica in orjson.loads(value)
    )
