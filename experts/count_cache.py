"""Counts of tokens by digest, the latest ones. Knows nothing of what was counted."""

from collections import OrderedDict
from threading import Lock


class CountCache:
    """Bounded, for several threads; the longest unused entry goes first."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._counts: OrderedDict[bytes, int] = OrderedDict()
        self._lock = Lock()

    def get(self, key: bytes) -> int | None:
        with self._lock:
            if (count := self._counts.get(key)) is not None:
                self._counts.move_to_end(key)
            return count

    def put(self, key: bytes, count: int) -> None:
        with self._lock:
            self._counts[key] = count
            self._counts.move_to_end(key)
            if len(self._counts) > self._entries:
                self._counts.popitem(last=False)

    def __len__(self) -> int:
        return len(self._counts)
