"""What the workers of one service keep together: an LMDB file in memory that all of them map.

A transaction takes microseconds and is atomic over all processes; one that is killed in the middle leaves
nothing behind. The file is made anew at each start and need not survive one, so nothing waits for a disk.
Knows nothing of what is kept.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import lmdb

FILE = "shared.lmdb"
MAP_BYTES = 1 << 30
"""Address space; the file is sparse and takes what is in it."""
MAX_READERS = 1_024
NAMED = 8
"""Tables at most."""
CHECK = 64
"""Changes after which a generation is looked at, whether it is full."""


class SharedStore:
    """Opened once by each worker, after it was forked."""

    def __init__(self, folder: Path) -> None:
        self.environment = lmdb.open(
            str(folder / FILE),
            subdir=False,
            map_size=MAP_BYTES,
            max_dbs=NAMED,
            max_readers=MAX_READERS,
            writemap=True,
            sync=False,
            metasync=False,
            readahead=False,
        )
        # One that was killed while it read would keep old pages from being used again.
        self.environment.reader_check()

    def close(self) -> None:
        self.environment.close()


class RecentEntries:
    """Values by key, the latest `bound` of them at least and hardly more than twice as many.

    New ones go to a young generation; when that is full it becomes the old one, and what was old is
    forgotten."""

    def __init__(self, store: SharedStore, name: str, bound: int) -> None:
        self._environment = store.environment
        self._bound = bound
        self._generations = tuple(
            store.environment.open_db(f"{name} {generation}".encode()) for generation in range(2)
        )
        self._young = f"{name} young".encode()
        self._changes = 0
        self._check = max(1, min(CHECK, bound // CHECK))

    def get(self, key: bytes) -> bytes | None:
        with self._environment.begin() as transaction:
            return self._read(transaction, key, self._young_one(transaction))

    def change(self, keys: Iterable[bytes], change: Callable[[bytes | None], bytes]) -> None:
        """Put in each key's place what `change` makes of its value, None where there is none."""
        with self._environment.begin(write=True) as transaction:
            young = self._young_one(transaction)
            for key in keys:
                value = change(self._read(transaction, key, young))
                transaction.put(key, value, db=self._generations[young])
            self._changes += 1
            if self._changes % self._check:
                return
            if transaction.stat(self._generations[young])["entries"] >= self._bound:
                transaction.drop(self._generations[1 - young], delete=False)
                transaction.put(self._young, bytes([1 - young]))

    def _young_one(self, transaction: lmdb.Transaction) -> int:
        found = transaction.get(self._young)
        return 0 if found is None else found[0]

    def _read(self, transaction: lmdb.Transaction, key: bytes, young: int) -> bytes | None:
        for generation in (young, 1 - young):
            if (found := transaction.get(key, db=self._generations[generation])) is not None:
                return bytes(found)
        return None
