"""Who answered lately, by what a conversation is known by, in the memory of one process."""

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

EXPERTS_PER_KEY = 4
"""Experts remembered of one key: ids of tool calls and short openings are no conversation's own."""
MARKS_PER_CONVERSATION = 8
"""Marks in memory for each conversation that it holds."""

K = TypeVar("K", bound=Hashable)
K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)


Owned = tuple[str | None, str]
"""The label of a caller's key, and what is that caller's."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An expert, the category it was sure of, when it last answered, and at which of its replicas
    (`experts.replicas.pool.replica_id`)."""

    expert: str
    category: str | None
    at: datetime
    replica: str | None = None


class RecentExperts(Protocol[K_contra]):
    """By key, for the keys that were used or written last. Unknown ones are not remembered: others may learn
    them."""

    def __contains__(self, key: K_contra) -> bool: ...

    def get(self, key: K_contra) -> tuple[Seen, ...]:
        """The latest first; empty when there is none."""
        ...

    def put(self, keys: Iterable[K_contra], seen: Seen) -> None:
        """`seen` has answered what each of `keys` stands for."""
        ...


class OwnRecentExperts(Generic[K]):
    """In the memory of this process: the least recently used are evicted."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._seen: OrderedDict[K, tuple[Seen, ...]] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return key in self._seen

    def get(self, key: K) -> tuple[Seen, ...]:
        found = self._seen.get(key, ())
        if found:
            self._seen.move_to_end(key)
        return found

    def put(self, keys: Iterable[K], seen: Seen) -> None:
        for key in keys:
            self._seen[key] = with_seen(self._seen.get(key, ()), seen)
            self._seen.move_to_end(key)
        while len(self._seen) > self._bound:
            self._seen.popitem(last=False)


@dataclass
class ConversationMemory:
    """By what conversations are recognised: the caller's name for one, a decision of it, a mark. A name and a
    decision are their caller's, by the label of its key."""

    by_name: RecentExperts[Owned]
    by_decision: RecentExperts[Owned]
    by_mark: RecentExperts[str]

    def put(self, seen: Seen, decision: Owned, name: Owned | None, marks: Sequence[str]) -> None:
        """`seen` has answered in a conversation that is known by all of these."""
        self.by_decision.put([decision], seen)
        if name is not None:
            self.by_name.put([name], seen)
        self.by_mark.put(marks, seen)


def own_memory(conversations: int) -> ConversationMemory:
    """Of this process, for so many conversations."""
    return ConversationMemory(
        OwnRecentExperts(conversations),
        OwnRecentExperts(conversations),
        OwnRecentExperts(conversations * MARKS_PER_CONVERSATION),
    )


def with_seen(known: tuple[Seen, ...], seen: Seen) -> tuple[Seen, ...]:
    """`known` and `seen`, the latest first."""
    if not known:
        return (seen,)
    others = (each for each in known if each.expert != seen.expert)
    return tuple(sorted([seen, *others], key=lambda each: each.at, reverse=True)[:EXPERTS_PER_KEY])
