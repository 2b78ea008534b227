"""A forest of regression trees with several outputs, as plain arrays: no pickle, no scikit-learn to run.

All trees walk down together: one step for every (row, tree) is a handful of array operations, so the
time is that of the depth and hardly of the number of trees.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from routers.request import Matrix

_CELLS = 200_000
"""(row, tree) pairs that walk at once: what keeps a large batch in the core's cache."""


@dataclass(frozen=True, slots=True)
class Forest:
    """Nodes of all trees, numbered through.

    A row at node `i` goes to `children[2*i + 1]` when its column `feature[i]` is at most
    `threshold[i]`, else to `children[2*i]`; both children of a leaf are the leaf. `values` (nodes,
    outputs) are read at leaves; the prediction is their mean over the trees, which start at `roots`.
    """

    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float32]
    children: npt.NDArray[np.int32]
    values: Matrix
    roots: npt.NDArray[np.int32]

    def predict(self, inputs: Matrix) -> Matrix:
        """Shape (rows, outputs) for `inputs` (rows, columns)."""
        if len(inputs) == 1:
            one: Matrix = self.values[self._leaves_of_one(inputs[0])].mean(axis=0, keepdims=True)
            return one
        predicted = np.empty((len(inputs), self.values.shape[1]), dtype=np.float32)
        step = max(1, _CELLS // len(self.roots))
        for start in range(0, len(inputs), step):
            leaves = self.leaves(inputs[start : start + step])
            block = predicted[start : start + step]
            block[:] = 0
            for tree in range(leaves.shape[1]):
                block += self.values[leaves[:, tree]]
        predicted /= len(self.roots)
        return predicted

    def leaves(self, inputs: Matrix) -> npt.NDArray[np.int32]:
        """The leaf that each row reaches in each tree, shape (rows, trees)."""
        columns = inputs.shape[1]
        flat = np.ascontiguousarray(inputs, dtype=np.float32).ravel()
        offsets = np.repeat(np.arange(len(inputs), dtype=np.int64) * columns, len(self.roots))
        at = np.tile(self.roots, len(inputs))
        while True:
            left = flat[offsets + self.feature[at]] <= self.threshold[at]
            after = self.children[2 * at + left]
            if (after == at).all():
                return at.reshape(len(inputs), len(self.roots))
            at = after

    def _leaves_of_one(self, row: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
        at = self.roots
        feature, threshold, children = self.feature, self.threshold, self.children
        while True:
            after = children.take(2 * at + (row.take(feature.take(at)) <= threshold.take(at)))
            if np.array_equal(after, at):
                return at
            at = after

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """What a composition keeps of it."""
        return {
            "feature": self.feature,
            "threshold": self.threshold,
            "children": self.children,
            "values": self.values,
            "roots": self.roots,
        }

    @classmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """From what `arrays` gave. Raises KeyError when one is missing, ValueError when they disagree."""
        nodes = len(arrays["feature"])
        children = arrays["children"]
        if children.shape != (2 * nodes,) or not ((children >= 0) & (children < nodes)).all():
            raise ValueError("the forest's nodes and children do not agree")
        # A child comes after its parent, so every walk ends.
        if (children.reshape(nodes, 2) < np.arange(nodes)[:, None]).any():
            raise ValueError("the forest has a loop")
        return cls(arrays["feature"], arrays["threshold"], children, arrays["values"], arrays["roots"])
