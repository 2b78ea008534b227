"""Demos that prompts are made of, found by their likeness to a request. Needs numpy alone."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prompts.mixture.demos import Demo

Vector = NDArray[np.float32]
Matrix = NDArray[np.float32]


LIKENESS_DIGITS = 6
"""Of a cosine of float32 vectors that mean something."""
TWIN_GAP = 1e-5
"""Of cosines: inputs that differ in case or blanks alone are nearer than that."""


class MixtureError(Exception):
    """A mixture cannot be built, read or used; the message says what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class DemoPool:
    """`demos` with the embeddings of their inputs, float32 (n, d), rows of unit length."""

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
        """Indices of the `count` demos nearest to `embedding`, float32 (d,), in Euclidean distance, those
        in `without` aside. The nearest comes last, where it stands next to the request; of equally near
        demos the first in the pool counts as nearer."""
        if count < 1 or not self.demos:
            return ()
        # Of unit vectors: the larger, the nearer. Rounded: what equal rows come to hangs on their place.
        likeness = np.round(self.embeddings @ embedding, LIKENESS_DIGITS)
        wanted = min(count + len(without), len(self.demos))
        # Not a sort of all: a pool may have a thousand demos, and a request has 0.2 ms.
        edge = np.partition(likeness, -wanted)[-wanted]
        among = np.flatnonzero(~(likeness < edge))
        order = among[np.argsort(-likeness[among], kind="stable")]
        found = [index for index in order.tolist() if index not in without][:count]
        return tuple(reversed(found))

    def twins(self, index: int) -> frozenset[int]:
        """The demo itself, and those that the encoder cannot tell from it."""
        likeness = self.embeddings @ self.embeddings[index]
        return frozenset([index, *np.flatnonzero(likeness >= 1 - TWIN_GAP).tolist()])

    def longest(self, count: int, among: Collection[int] | None = None) -> list[tuple[int, ...]]:
        """Indices of the `count` longest demos (of those `among`), by characters and by bytes: whichever a
        token is counted by, no others take more."""
        indices = range(len(self.demos)) if among is None else among

        def most(size: Callable[[str], int]) -> tuple[int, ...]:
            sizes = {each: size(self.demos[each].input) + size(self.demos[each].output) for each in indices}
            return tuple(sorted(sizes, key=lambda each: -sizes[each])[:count])

        return [most(len), most(lambda text: len(text.encode()))]

    def pick(self, indices: Collection[int]) -> tuple[Demo, ...]:
        """The demos at `indices`, in that order."""
        return tuple(self.demos[index] for index in indices)
