"""A queue with two priorities that is fair between its callers. Pure: holds items, knows nothing of time."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, Literal, TypeVar

Item = TypeVar("Item")

Priority = Literal["interactive", "batch"]
PRIORITIES: tuple[Priority, ...] = ("interactive", "batch")
BATCH_TURN = 8
"""Every so many items one of `batch` leaves, although others wait: it is slow and does not starve."""


class FairQueue(Generic[Item]):
    """Callers (keys) of a priority leave in turn, one item each; a caller's own items in their order."""

    def __init__(self) -> None:
        self._lines: dict[Priority, OrderedDict[str | None, deque[Item]]] = {
            each: OrderedDict() for each in PRIORITIES
        }
        self._size = 0
        self._since_batch = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Item]:
        return (item for lines in self._lines.values() for line in lines.values() for item in line)

    def push(self, item: Item, key: str | None, priority: Priority, *, first: bool = False) -> None:
        """`first`: before the caller's other items."""
        line = self._lines[priority].setdefault(key, deque())
        line.appendleft(item) if first else line.append(item)
        self._size += 1

    def pop(self) -> Item:
        """The next item. Raises IndexError when there is none."""
        if not self._size:
            raise IndexError("the queue is empty")
        interactive, batch = self._lines["interactive"], self._lines["batch"]
        turn = not interactive or (bool(batch) and self._since_batch >= BATCH_TURN - 1)
        self._since_batch = 0 if turn else self._since_batch + 1
        lines = batch if turn else interactive
        key, line = next(iter(lines.items()))
        item = line.popleft()
        if line:
            lines.move_to_end(key)
        else:
            del lines[key]
        self._size -= 1
        return item

    def remove(self, item: Item, key: str | None, priority: Priority) -> None:
        """Take out an item that waits no more. Raises ValueError when it is not there."""
        line = self._lines[priority].get(key)
        if line is None:
            raise ValueError("not in the queue")
        line.remove(item)
        if not line:
            del self._lines[priority][key]
        self._size -= 1

    def ahead(self, key: str | None, priority: Priority) -> int:
        """The items that would leave before a new one of `key`."""
        own = len(self._lines[priority].get(key, ()))
        ahead = 0
        for each in PRIORITIES:
            for line in self._lines[each].values():
                ahead += min(len(line), own + 1) if each == priority else len(line)
            if each == priority:
                break
        return ahead

    def displaced(self, key: str | None, priority: Priority) -> tuple[Item, str | None, Priority] | None:
        """Whose place a new item may take in a full queue, with its key and priority: the last one of the
        longest line of a lower priority, or of a caller with more waiting than this one would have; None when
        there is none."""
        for other in reversed(PRIORITIES):
            lines = self._lines[other]
            if lines:
                longest = max(lines, key=lambda each: len(lines[each]))
                own = len(self._lines[priority].get(key, ()))
                lower = PRIORITIES.index(other) > PRIORITIES.index(priority)
                if lower or (other == priority and len(lines[longest]) > own + 1):
                    return lines[longest][-1], longest, other
            if other == priority:
                break
        return None
