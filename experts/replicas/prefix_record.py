"""Which prompts each replica has read lately: our own record of block hashes, bounded like the servers'
caches.

An estimate: a server may have evicted what is here, or hold what another process sent it.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MAX_ENTRIES = 1_048_576
"""Blocks of all replicas together: some 250 MB, when a thousand replicas fill it."""
USUAL_ENTRIES = 16_384
"""Blocks of a replica whose cache is not known to be smaller: 2 million tokens, 4 MB."""


class PrefixRecord:
    """Replicas are numbered from 0. A block is in the record of a replica when a request with it was sent
    there; the least recently used are evicted, the ends of prompts before their beginnings."""

    def __init__(self, replicas: int, capacity: int | None = None) -> None:
        """`capacity`: blocks of one replica, by default USUAL_ENTRIES; never more than its share of
        MAX_ENTRIES."""
        self._replicas = replicas
        self._most = max(1, MAX_ENTRIES // replicas)
        self._all = (1 << replicas) - 1
        self._holders: dict[int, int] = {}
        """Bit masks of replicas, by block."""
        self._recent: list[OrderedDict[int, None]] = [OrderedDict() for _ in range(replicas)]
        self.stored: Floats = np.zeros(replicas)
        """Blocks in each replica's record."""
        self.capacity: Floats = np.full(replicas, float(min(capacity or USUAL_ENTRIES, self._most)))

    def resize(self, replica: int, capacity: int) -> None:
        """Bound the record of one replica by what its server holds."""
        self.capacity[replica] = min(max(1, capacity), self._most)
        self._evict(replica)

    def matched(self, blocks: Sequence[int]) -> Floats:
        """By replica: the blocks at the beginning of a prompt that it has read. Shape (replicas,)."""
        alive, depths, ended = self._all, [], []
        holders_of = self._holders.get
        for at, block in enumerate(blocks):
            holders = holders_of(block, 0) & alive
            if holders != alive:
                depths.append(at)
                ended.append(alive ^ holders)
                alive = holders
                if not alive:
                    break
        else:
            depths.append(len(blocks))
            ended.append(alive)
        if len(depths) == 1:
            return np.asarray(depths[0] * self._bits(ended)[0])
        # Every replica is in one of the masks.
        return np.asarray(np.array(depths, np.float64) @ self._bits(ended))

    def note(self, replica: int, blocks: Sequence[int]) -> None:
        """A prompt was sent to a replica."""
        recent, bit, holders = self._recent[replica], 1 << replica, self._holders
        # Its beginning is used last: where memory ends, ends go first.
        for block in reversed(blocks):
            if block in recent:
                recent.move_to_end(block)
            else:
                recent[block] = None
                holders[block] = holders.get(block, 0) | bit
        self._evict(replica)

    def forget(self, replica: int) -> None:
        """A server that was away has read nothing."""
        self._drop(replica, list(self._recent[replica]))
        self._recent[replica].clear()
        self.stored[replica] = 0

    def _evict(self, replica: int) -> None:
        recent = self._recent[replica]
        most = int(self.capacity[replica])
        if len(recent) > most:
            self._drop(replica, [recent.popitem(last=False)[0] for _ in range(len(recent) - most)])
        self.stored[replica] = len(recent)

    def _drop(self, replica: int, blocks: Iterable[int]) -> None:
        for block in blocks:
            left = self._holders[block] & ~(1 << replica)
            if left:
                self._holders[block] = left
            else:
                del self._holders[block]

    def _bits(self, masks: Sequence[int]) -> Floats:
        """Masks as rows of 0 and 1. Shape (masks, replicas)."""
        size = (self._replicas + 7) // 8
        raw = np.frombuffer(b"".join(mask.to_bytes(size, "little") for mask in masks), np.uint8)
        bits = np.unpackbits(raw.reshape(-1, size), axis=1, count=self._replicas, bitorder="little")
        return bits.astype(np.float64)
