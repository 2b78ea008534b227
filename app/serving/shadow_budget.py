"""What shadow answers may cost in a day (UTC), and have cost. Knows nothing of how they are asked for."""

import struct
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from app.storage.shared_store import SharedStore

_SPENT = struct.Struct("<qd")
"""Tokens and dollars."""


class Budget(Protocol):
    """So many tokens and dollars a day."""

    def begin(self, today: date, tokens: int, price: float) -> None:
        """So much of today's was spent before the service started."""
        ...

    def reserve(self, tokens: int, price: float, today: date) -> bool:
        """Take so much of today's budget, or nothing when it is not there."""
        ...

    def settle(self, day: date, tokens: int, price: float) -> None:
        """Correct what was reserved on `day` by these differences, now that the answer is known."""
        ...


@dataclass(slots=True)
class OwnBudget:
    """Of one process."""

    tokens: int
    price: float
    """Dollars."""
    day: date = date.min
    spent_tokens: int = 0
    spent_price: float = 0.0

    def begin(self, today: date, tokens: int, price: float) -> None:
        self.day, self.spent_tokens, self.spent_price = today, tokens, price

    def reserve(self, tokens: int, price: float, today: date) -> bool:
        if today != self.day:
            self.begin(today, 0, 0.0)
        if self.spent_tokens + tokens > self.tokens or self.spent_price + price > self.price:
            return False
        self.spent_tokens += tokens
        self.spent_price += price
        return True

    def settle(self, day: date, tokens: int, price: float) -> None:
        if day == self.day:
            self.spent_tokens += tokens
            self.spent_price += price


class SharedBudget:
    """Of all workers: what one has reserved is not there for another."""

    def __init__(self, store: "SharedStore", tokens: int, price: float) -> None:
        self._environment = store.environment
        self._days = store.environment.open_db(b"shadow budget")
        self._tokens = tokens
        self._price = price

    def begin(self, today: date, tokens: int, price: float) -> None:
        """What the first worker finds counts: those after it have spent some already."""
        with self._environment.begin(write=True, db=self._days) as transaction:
            transaction.put(_key(today), _SPENT.pack(tokens, price), overwrite=False)

    def reserve(self, tokens: int, price: float, today: date) -> bool:
        return self._spend(today, tokens, price, bounded=True)

    def settle(self, day: date, tokens: int, price: float) -> None:
        self._spend(day, tokens, price, bounded=False)

    def _spend(self, day: date, tokens: int, price: float, *, bounded: bool) -> bool:
        with self._environment.begin(write=True, db=self._days) as transaction:
            found = transaction.get(_key(day))
            spent_tokens, spent_price = (0, 0.0) if found is None else _SPENT.unpack(found)
            spent_tokens, spent_price = spent_tokens + tokens, spent_price + price
            if bounded and (spent_tokens > self._tokens or spent_price > self._price):
                return False
            transaction.put(_key(day), _SPENT.pack(spent_tokens, spent_price))
            return True


def _key(day: date) -> bytes:
    return day.isoformat().encode()
