"""A forest of regression trees with several outputs, as plain arrays: no pickle, no scikit-learn to run."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from routers.request import Matrix
from routers.tree_graph import tree_graph

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


@dataclass(frozen=True)
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
        leaves = self.leaves(inputs)
        if len(leaves) == 1:
            one: Matrix = self.values.take(leaves[0], axis=0).mean(axis=0, keepdims=True)
            return one
        predicted = np.zeros((len(inputs), self.values.shape[1]), dtype=np.float32)
        for tree in range(leaves.shape[1]):
            predicted += self.values[leaves[:, tree]]
        predicted /= len(self.roots)
        return predicted

    def leaves(self, inputs: Matrix) -> npt.NDArray[np.int64]:
        """The leaf that each row reaches in each tree, shape (rows, trees). Raises ValueError."""
        if inputs.shape[1] < self.columns:
            raise ValueError(f"the forest looks at {self.columns} columns, there are {inputs.shape[1]}")
        rows = np.ascontiguousarray(inputs, dtype=np.float32)
        reached: npt.NDArray[np.int64] = self.walker.run(None, {"inputs": rows})[0].astype(np.int64)
        reached += self.roots
        return reached

    @cached_property
    def columns(self) -> int:
        """How many columns its splits reach for: the runtime would read past the end of a shorter row."""
        return int(self.feature.max(initial=-1)) + 1

    @cached_property
    def walker(self) -> "InferenceSession":
        """What walks down the trees. Runs on the caller's thread."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # There is one node: nothing to optimise.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        graph = tree_graph(self.feature, self.threshold, self.children, self.roots)
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

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
        nodes, roots, children = len(arrays["feature"]), arrays["roots"], arrays["children"]
        if children.shape != (2 * nodes,) or not ((children >= 0) & (children < nodes)).all():
            raise ValueError("the forest's nodes and children do not agree")
        # A child comes after its parent, so every walk ends.
        if (children.reshape(nodes, 2) < np.arange(nodes)[:, None]).any():
            raise ValueError("the forest has a loop")
        tree = np.searchsorted(roots, np.arange(nodes), side="right")
        ordered = len(roots) > 0 and roots[0] == 0 and (np.diff(roots) > 0).all()
        if not ordered or (tree[children.reshape(nodes, 2)] != tree[:, None]).any():
            raise ValueError("the forest's trees run into each other")
        if (arrays["feature"] < 0).any():
            raise ValueError("the forest looks at a column before the first")
        forest = cls(arrays["feature"], arrays["threshold"], children, arrays["values"], roots)
        # Built now and not in the first request.
        _ = forest.walker
        return forest
