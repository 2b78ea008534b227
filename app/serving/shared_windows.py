"""Moving windows that all workers count in: a storage for `limits`."""

import hashlib
import time

import lmdb
from limits.storage import MovingWindowSupport, Storage

from app.storage.shared_store import SharedStore

STAMP_BYTES = 8
NANOSECONDS = 1_000_000_000


class SharedWindows(Storage, MovingWindowSupport):
    """Of each key the times of what it has taken, in order. A test and what it grants are one transaction, so
    no two workers grant the same."""

    STORAGE_SCHEME = None  # not to be opened by a URL

    def __init__(self, store: SharedStore) -> None:
        super().__init__()
        self._environment = store.environment
        self._taken = store.environment.open_db(b"windows", dupsort=True, dupfixed=True)

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Take `amount` at once, or none when that is more than `limit` within `expiry` seconds."""
        name = _name(key)
        with self._environment.begin(write=True, db=self._taken) as transaction:
            cursor = transaction.cursor()
            now = time.time_ns()
            while cursor.set_key(name) and _time(cursor.value()) <= now - expiry * NANOSECONDS:
                cursor.delete()
            taken = cursor.count() if cursor.set_key(name) else 0
            if taken + amount > limit:
                return False
            if taken:
                cursor.last_dup()
                now = max(now, _time(cursor.value()) + 1)  # two at one time would count as one
            for each in range(now, now + amount):
                transaction.put(name, each.to_bytes(STAMP_BYTES, "big"))
            return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the first one that still counts was taken (seconds of Unix time; without any, now), and how
        many count."""
        horizon = time.time_ns() - expiry * NANOSECONDS
        with self._environment.begin(db=self._taken) as transaction:
            cursor = transaction.cursor()
            taken = cursor.set_key(_name(key)) and [
                each for value in cursor.iternext_dup() if (each := _time(value)) > horizon
            ]
        return (taken[0] / NANOSECONDS, len(taken)) if taken else (time.time(), 0)

    def clear(self, key: str) -> None:
        with self._environment.begin(write=True, db=self._taken) as transaction:
            transaction.delete(_name(key))

    def reset(self) -> None:
        with self._environment.begin(write=True) as transaction:
            transaction.drop(self._taken, delete=False)

    def check(self) -> bool:
        return True

    @property
    def base_exceptions(self) -> type[Exception]:
        return lmdb.Error

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        raise NotImplementedError("moving windows alone")

    def get(self, key: str) -> int:
        raise NotImplementedError("moving windows alone")

    def get_expiry(self, key: str) -> float:
        raise NotImplementedError("moving windows alone")


def _name(key: str) -> bytes:
    """LMDB's keys are short."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _time(value: bytes) -> int:
    return int.from_bytes(value, "big")
