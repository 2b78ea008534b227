"""Fitting the forest of a correction: extremely randomised trees (Geurts et al. 2006) with hierarchical
shrinkage (Agarwal et al. 2022, arXiv 2202.00858), whose λ needs no refit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from routers.fitting.splits import Index
from routers.forest import Forest
from routers.request import Matrix

TREES = 60
MIN_SAMPLES_LEAF = 10
MAX_LEAVES = 400
"""min_samples_leaf = max(MIN_SAMPLES_LEAF, n / MAX_LEAVES), which bounds the size of a composition."""
MAX_SAMPLES = 20_000
"""Most prompts that a tree is grown on, drawn anew for each: 50 a leaf, and all of them together see most of
five times as many. It bounds the time of a fit on more."""
MAX_FEATURES = 0.3


@dataclass(frozen=True, slots=True)
class GrownForest:
    """A forest with the mean value and the number of training prompts (`samples`) of every node."""

    forest: Forest
    samples: npt.NDArray[np.float64]

    def shrunk(self, strength: float) -> Forest:
        """The forest after hierarchical shrinkage: a node's difference from its parent is multiplied by
        1/(1 + strength/n), n the parent's prompts."""
        grown = self.forest
        values = grown.values.astype(np.float64)
        at: Index = grown.roots.astype(np.int64)
        while len(at):
            right, left = grown.children[2 * at].astype(np.int64), grown.children[2 * at + 1].astype(np.int64)
            inner = left != at
            at, right, left = at[inner], right[inner], left[inner]
            trust = 1 / (1 + strength / self.samples[at])
            for child in (left, right):
                step = grown.values[child].astype(np.float64) - grown.values[at]
                values[child] = values[at] + step * trust[:, None]
            at = np.concatenate([left, right])
        return Forest(grown.feature, grown.threshold, grown.children, values.astype(np.float32), grown.roots)


def grow(inputs: Matrix, targets: Matrix, *, trees: int, seed: int, cores: int) -> GrownForest:
    """Fit on `inputs` (rows, columns) and `targets` (rows, outputs)."""
    from sklearn.ensemble import ExtraTreesRegressor

    sampled = len(inputs) > MAX_SAMPLES
    model = ExtraTreesRegressor(
        trees,
        min_samples_leaf=max(MIN_SAMPLES_LEAF, min(len(inputs), MAX_SAMPLES) // MAX_LEAVES),
        bootstrap=sampled,
        max_samples=MAX_SAMPLES if sampled else None,
        max_features=MAX_FEATURES,
        random_state=seed,
        n_jobs=cores,
    ).fit(inputs, targets)
    feature, threshold, children, values, samples, roots = [], [], [], [], [], []
    offset = 0
    for estimator in model.estimators_:
        tree = estimator.tree_
        own = np.arange(tree.node_count) + offset
        leaf = tree.children_left < 0
        feature.append(np.where(leaf, 0, tree.feature))
        threshold.append(np.where(leaf, np.inf, tree.threshold))
        right = np.where(leaf, own, tree.children_right + offset)
        left = np.where(leaf, own, tree.children_left + offset)
        children.append(np.stack([right, left], axis=1).ravel())
        values.append(tree.value[:, :, 0])
        samples.append(tree.weighted_n_node_samples)
        roots.append(offset)
        offset += tree.node_count
    return GrownForest(
        Forest(
            np.concatenate(feature).astype(np.int32),
            _rounded_down(np.concatenate(threshold)),
            np.concatenate(children).astype(np.int32),
            np.concatenate(values).astype(np.float32),
            np.asarray(roots, dtype=np.int32),
        ),
        np.concatenate(samples).astype(np.float64),
    )


def concatenate(forests: Sequence[GrownForest]) -> GrownForest:
    """One forest of all their trees."""
    offsets = np.cumsum([0, *(len(each.samples) for each in forests[:-1])]).astype(np.int32)
    parts = [each.forest for each in forests]
    return GrownForest(
        Forest(
            np.concatenate([part.feature for part in parts]),
            np.concatenate([part.threshold for part in parts]),
            np.concatenate([part.children + offset for part, offset in zip(parts, offsets, strict=True)]),
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.roots + offset for part, offset in zip(parts, offsets, strict=True)]),
        ),
        np.concatenate([each.samples for each in forests]),
    )


def _rounded_down(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The next float32 at or below, so that `<=` on float32 inputs gives the same result."""
    near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float32)
