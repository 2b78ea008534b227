"""Signal in an outcome table beyond the category: an upper bound for embedding-based routers.

The residual of a prompt's scores, after subtracting the prompt's mean (its difficulty) and the category's
mean of that, says which experts did unusually well on it. Residuals that depend on content are shared by
similar prompts; noise is not. So the mean products of residuals over pairs of nearest neighbours estimate the
covariance of the predictable part (the covariogram of geostatistics), and samples from it give the gain
of a router that knew this part exactly.

The bound holds for routers on this embedding only. Knows nothing of how a composition is fitted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from routers.outcome_table import OutcomeTable
from routers.request import Matrix

Rows = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]

NEIGHBOURS = 5
"""Nearest neighbours per prompt."""
RESAMPLES = 100
SPLITS = 10
DRAWS = 2000
BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Signal:
    """Signal shared by pairs of similar prompts, with 95 % intervals.

    `similarity`: mean cosine of the pairs. `shared`: shared fraction of the residuals' variance. `gain`: the
    score that a router with full knowledge of it gains over the perfect category map.
    """

    pairs: int
    similarity: float
    shared: float
    shared_low: float
    shared_high: float
    gain: float
    gain_low: float
    gain_high: float


def remaining_signal(
    table: OutcomeTable, embeddings: Matrix, *, closest: float = 1.0, seed: int = 0
) -> Signal:
    """The signal that similar prompts share in `table`, rows without a missing score.

    `embeddings`: (prompts, dimension), unit rows. Identical prompts are never paired. `closest`: the
    fraction of most similar pairs to use. 95 % intervals are from a bootstrap over prompts; a pair's weight
    is the product of its prompts' weights.
    """
    whole = np.isfinite(table.scores).all(axis=1)
    table, embeddings = table.take(np.flatnonzero(whole)), embeddings[whole]
    scores = table.scores.astype(np.float64)
    labels = np.unique(np.asarray(table.categories), return_inverse=True)[1].astype(np.int64)
    left, right, cosines = neighbour_pairs(embeddings, table.prompts)
    kept = cosines >= np.quantile(cosines, 1 - closest)
    world = _World(
        _remainders(scores, labels),
        left[kept],
        right[kept],
        np.stack([scores[labels == label].mean(axis=0) for label in range(labels.max() + 1)]),
        np.bincount(labels) / len(labels),
    )
    random = np.random.default_rng(seed)
    estimate = world.estimate(np.ones(len(scores)), random, SPLITS)
    even = np.full(len(scores), 1 / len(scores))
    spread = np.asarray(
        [
            world.estimate(random.multinomial(len(scores), even).astype(np.float64), random, 1)
            for _ in range(RESAMPLES)
        ]
    ).std(axis=0)
    low, high = estimate - 1.96 * spread, estimate + 1.96 * spread
    return Signal(
        int(kept.sum()),
        float(cosines[kept].mean()),
        *(float(value) for value in (estimate[0], low[0], high[0], estimate[1], low[1], high[1])),
    )


def neighbour_pairs(embeddings: Matrix, prompts: Sequence[str]) -> tuple[Rows, Rows, Array]:
    """(left, right, cosine) of each prompt with its nearest others; each pair once."""
    distinct: dict[str, int] = {}
    group = np.asarray([distinct.setdefault(prompt.strip(), row) for row, prompt in enumerate(prompts)])
    found: dict[tuple[int, int], float] = {}
    for start in range(0, len(embeddings), BLOCK):
        cosines = embeddings[start : start + BLOCK] @ embeddings.T
        cosines[group[start : start + BLOCK, None] == group[None, :]] = -np.inf
        count = min(NEIGHBOURS, len(embeddings) - 1)
        nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        for offset, others in enumerate(nearest):
            row = start + offset
            for other in others:
                if np.isfinite(cosines[offset, other]):
                    key = (min(row, int(other)), max(row, int(other)))
                    found[key] = float(cosines[offset, other])
    ordered = np.asarray(sorted(found), dtype=np.int64).reshape(-1, 2)
    return ordered[:, 0], ordered[:, 1], np.asarray([found[int(a), int(b)] for a, b in ordered])


def _remainders(scores: Array, labels: Rows) -> Array:
    contrasts = scores - scores.mean(axis=1, keepdims=True)
    result: Array = np.empty_like(contrasts)
    for label in np.unique(labels):
        rows = labels == label
        # n/(n-1): Bessel's correction for the subtracted category mean.
        count = rows.sum()
        result[rows] = (contrasts[rows] - contrasts[rows].mean(axis=0)) * np.sqrt(count / max(count - 1, 1))
    return result


@dataclass(frozen=True, slots=True)
class _World:
    """Residuals (prompts, experts), pairs, means of the map (categories, experts) and shares of categories
    (categories,)."""

    remainders: Array
    left: Rows
    right: Rows
    means: Array
    sizes: Array

    def estimate(self, weights: Array, random: np.random.Generator, splits: int) -> Array:
        """[share of variance, gain] with weights of the prompts.

        Eigenvectors are from one half of the pairs and variances along them from the other, because the
        largest eigenvalues of a noisy covariance matrix are biased upwards.
        """
        total = float((weights[:, None] * self.remainders**2).sum() / weights.sum())
        shared = np.trace(self._covariance(weights, np.ones(len(self.left), dtype=bool))) / total
        gains = []
        for _ in range(splits):
            half = random.random(len(self.left)) < 0.5
            one, other = self._covariance(weights, half), self._covariance(weights, ~half)
            for first, second in ((one, other), (other, one)):
                directions = np.linalg.eigh(first)[1]
                variances = np.einsum("ij,ik,kj->j", directions, second, directions)
                gains.append(self._gain(directions * np.sqrt(np.maximum(variances, 0)), random))
        return np.asarray([shared, np.mean(gains)])

    def _covariance(self, weights: Array, pairs: npt.NDArray[np.bool_]) -> Array:
        left, right = self.left[pairs], self.right[pairs]
        of_pairs = weights[left] * weights[right]
        if not of_pairs.sum():
            return np.zeros((self.remainders.shape[1],) * 2)
        product = (self.remainders[left] * of_pairs[:, None]).T @ self.remainders[right] / of_pairs.sum()
        symmetric: Array = (product + product.T) / 2
        return symmetric

    def _gain(self, root: Array, random: np.random.Generator) -> float:
        drawn = random.standard_normal((DRAWS, root.shape[1])) @ root.T
        gains = [
            (mean + drawn).max(axis=1).mean() - (mean + drawn)[:, mean.argmax()].mean() for mean in self.means
        ]
        return float(np.asarray(gains) @ self.sizes)
