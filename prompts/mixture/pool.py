"""Demos that prompts are made of, found by their likeness to a request. Needs numpy alone."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prompts.mixture.demos import Demo

Vector = NDArray[np.float32]
Matrix = NDArray[np.float32]


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
        likeness = self.embeddings @ embedding  # of unit vectors: the larger, the nearer
        wanted = min(count + len(without), len(self.demos))
        # Not a sort of all: a pool may have a thousand demos, and a request has 0.2 ms.
        edge = np.partition(likeness, -wanted)[-wanted]
        among = np.flatnonzero(~(likeness < edge))
        order = among[np.argsort(-likeness[among], kind="stable")]
        found = [index for index in order.tolist() if index not in without][:count]
        return tuple(reversed(found))

    def longest(self, count: int) -> tuple[int, ...]:
        """Indices of the `count` demos of most characters."""
        sizes = [len(demo.input) + len(demo.output) for demo in self.demos]
        return tuple(sorted(range(len(sizes)), key=lambda index: -sizes[index])[:count])

    def pick(self, indices: Collection[int]) -> tuple[Demo, ...]:
        """The demos at `indices`, in that order."""
        return tuple(self.demos[index] for index in indices)
