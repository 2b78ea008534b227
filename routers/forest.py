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
            one: Matrix = np.add.reduce(self.values.take(leaves[0], axis=0), axis=0, keepdims=True)
            one /= len(self.roots)
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
        forest = cls(*(arrays[name] for name in ("feature", "threshold", "children", "values", "roots")))
        forest._check()
        # Built now and not in the first request.
        _ = forest.walker
        return forest

    def _check(self) -> None:
        """Raises ValueError unless the arrays are trees: the runtime and `predict` trust them."""
        nodes, roots = len(self.feature), self.roots
        of_nodes = (self.feature.shape, self.threshold.shape, self.children.shape, self.values.shape[:1])
        if of_nodes != ((nodes,), (nodes,), (2 * nodes,), (nodes,)) or self.values.ndim != 2:
            raise ValueError("the forest's arrays have not the same nodes")
        if {each.dtype.kind for each in (self.feature, self.children, roots)} != {"i"}:
            raise ValueError("the forest's nodes are not numbered by integers")
        if not ((self.children >= 0) & (self.children < nodes)).all():
            raise ValueError("the forest's nodes and children do not agree")
        places, pairs = np.arange(nodes), self.children.reshape(nodes, 2)
        # A child comes after its parent, so every walk ends.
        if (pairs < places[:, None]).any():
            raise ValueError("the forest has a loop")
        ordered = roots.ndim == 1 and len(roots) > 0 and roots[0] == 0 and (np.diff(roots) > 0).all()
        tree = np.searchsorted(roots, places, side="right")
        if not ordered or roots[-1] >= nodes or (tree[pairs] != tree[:, None]).any():
            raise ValueError("the forest's trees run into each other")
        own = pairs == places[:, None]
        parents = np.bincount(pairs[~own], minlength=nodes)
        parents[roots] += 1
        if (own[:, 0] != own[:, 1]).any() or (parents != 1).any():
            raise ValueError("the forest has a node without a parent, or with several")
        if (self.feature < 0).any():
            raise ValueError("the forest looks at a column before the first")
        if np.isnan(self.threshold[~own[:, 0]]).any() or not np.isfinite(self.values).all():
            raise ValueError("the forest has a threshold or a value that is no number")
