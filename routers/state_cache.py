"""A bounded memory of encoder states by text: repeated tasks do not run the transformer twice.

Keeps digests of texts, never the texts. What is kept is what the encoder gave, so no decision depends on
what was asked before. Knows nothing of routing.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

from routers.encoder import Encoder
from routers.request import Matrix

DIGEST_BYTES = 16


class CachedStates:
    """An encoder that remembers the states of the `entries` texts that it read last, one at a time.

    An entry takes 4 bytes · width and about 500 bytes beside (3.5 kB with all-MiniLM-L6-v2). Calls with
    several texts pass by: of embeddings in bulk each text comes once. Thread-safe.
    """

    def __init__(self, encoder: Encoder, entries: int) -> None:
        self._encoder = encoder
        self._entries = entries
        self._kept: OrderedDict[bytes, Matrix] = OrderedDict()
        self._lock = Lock()

    @property
    def name(self) -> str:
        return self._encoder.name

    @property
    def revision(self) -> str:
        return self._encoder.revision

    @property
    def dimension(self) -> int:
        return self._encoder.dimension

    @property
    def width(self) -> int:
        """Numbers of `states`."""
        return self._encoder.width

    def encode(self, texts: Sequence[str]) -> Matrix:
        """`Encoder.encode`."""
        return self.states(texts)[:, : self.dimension]

    def states(self, texts: Sequence[str]) -> Matrix:
        """`Encoder.states`; those of one text are remembered, and not to be written to."""
        if len(texts) != 1 or not self._entries:
            return self._encoder.states(texts)
        key = _digest(texts[0])
        with self._lock:
            if (kept := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return kept
        # Outside the lock: two threads that read the same new text both do the work.
        states = self._encoder.states(texts)
        states.flags.writeable = False
        with self._lock:
            self._kept[key] = states
            self._kept.move_to_end(key)
            if len(self._kept) > self._entries:
                self._kept.popitem(last=False)
        return states

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """`Encoder.count_tokens`."""
        return self._encoder.count_tokens(texts)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
