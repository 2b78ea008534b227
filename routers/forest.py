"""A multi-output regression forest stored as plain arrays and run by ONNX Runtime."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
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
    """The nodes of all trees, concatenated; `roots` are the indices of the first node of each tree.

    At node i a row goes to `children[2*i + 1]` if its column `feature[i]` is at most `threshold[i]`, else to
    `children[2*i]`; both children of a leaf are the leaf. The prediction is the mean over trees of the
    leaves' `values` (nodes, outputs).
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
        reached: npt.NDArray[np.int64] = self.session.run(None, {"inputs": rows})[0].astype(np.int64)
        reached += self.roots
        return reached

    @cached_property
    def columns(self) -> int:
        """Columns that the splits use; ONNX Runtime would read past the end of a shorter row."""
        return int(self.feature.max(initial=-1)) + 1

    @cached_property
    def session(self) -> "InferenceSession":
        """Single-threaded ONNX session that maps inputs to leaves."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # The graph has one node.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        graph = tree_graph(self.feature, self.threshold, self.children, self.roots)
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """The arrays that a composition stores."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The inverse of `arrays`. Raises KeyError or ValueError."""
        forest = cls(**{field.name: arrays[field.name] for field in fields(cls)})
        forest._check()
        _ = forest.session  # builds it before the first request
        return forest

    def _check(self) -> None:
        """Raises ValueError unless the arrays describe trees, which neither runtime nor `predict` checks."""
        nodes, roots = len(self.feature), self.roots
        of_nodes = (self.feature.shape, self.threshold.shape, self.children.shape, self.values.shape[:1])
        if of_nodes != ((nodes,), (nodes,), (2 * nodes,), (nodes,)) or self.values.ndim != 2:
            raise ValueError("the forest's arrays have not the same nodes")
        if {each.dtype.kind for each in (self.feature, self.children, roots)} != {"i"}:
            raise ValueError("the forest's nodes are not numbered by integers")
        if not ((self.children >= 0) & (self.children < nodes)).all():
            raise ValueError("the forest's nodes and children do not agree")
        places, pairs = np.arange(nodes), self.children.reshape(nodes, 2)
        # Children come after their parents, so every descent ends.
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
