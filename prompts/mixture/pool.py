"""The pool of demos with exact nearest-neighbour search."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prompts.mixture.demos import Demo

Vector = NDArray[np.float32]
Matrix = NDArray[np.float32]


COSINE_DIGITS = 6
"""Significant digits of float32 cosines; rounding makes ties independent of position."""
DUPLICATE_GAP = 1e-5
"""Cosine distance of inputs that differ only in case or blanks."""


class MixtureError(Exception):
    """A mixture cannot be built, read or used; the message says what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class DemoPool:
    """`demos` with the embeddings of their inputs, float32 (n, d), unit rows."""

    demos: tuple[Demo, ...]
    embeddings: Matrix

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2 or len(self.embeddings) != len(self.demos):
            raise MixtureError(
                f"{len(self.demos)} demos, but embeddings of shape {self.embeddings.shape}: one row each"
            )

    def __len__(self) -> int:
        return len(self.demos)

    def nearest(self, embedding: Vector, count: int, without: Collection[int] = ()) -> tuple[int, ...]:
        """Indices of the `count` demos nearest to `embedding`, float32 (d,), except `without`; the nearest
        last, next to the request. Ties count as nearer by position."""
        if count < 1 or not self.demos:
            return ()
        cosine = np.round(self.embeddings @ embedding, COSINE_DIGITS)
        wanted = min(count + len(without), len(self.demos))
        # A partition is quicker than a full sort.
        edge = np.partition(cosine, -wanted)[-wanted]
        among = np.flatnonzero(~(cosine < edge))
        order = among[np.argsort(-cosine[among], kind="stable")]
        found = [index for index in order.tolist() if index not in without][:count]
        return tuple(reversed(found))

    def twins(self, index: int) -> frozenset[int]:
        """The demo itself and its near-duplicates."""
        cosine = self.embeddings @ self.embeddings[index]
        return frozenset([index, *np.flatnonzero(cosine >= 1 - DUPLICATE_GAP).tolist()])

    def longest(self, count: int, among: Collection[int] | None = None) -> list[tuple[int, ...]]:
        """Indices of the `count` longest demos (of those `among`), by characters and by bytes."""
        indices = range(len(self.demos)) if among is None else among

        def most(size: Callable[[str], int]) -> tuple[int, ...]:
            sizes = {each: size(self.demos[each].input) + size(self.demos[each].output) for each in indices}
            return tuple(sorted(sizes, key=lambda each: -sizes[each])[:count])

        return [most(len), most(lambda text: len(text.encode()))]

    def pick(self, indices: Collection[int]) -> tuple[Demo, ...]:
        """The demos at `indices`."""
        return tuple(self.demos[index] for index in indices)
