"""Out-of-distribution score: cosine distance to the nearest k-means centre of the training prompts, as a
quantile of the same distance on held-out prompts (0 nearest, 1 farthest)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from routers.encoder import DIMENSION
from routers.request import Matrix, Vector

PROTOTYPES = 256
SAMPLE = 64
"""Most prompts per centre that are clustered: what bounds the time of a fit on many."""
ITERATIONS = 20
"""Of k-means."""
LEVELS = np.linspace(0, 1, 101)
"""Quantile levels of the held-out distances."""


@dataclass(frozen=True, slots=True)
class Novelty:
    """`prototypes` (m, dimension), unit rows; `quantiles` (101,) held-out distances at 0..100 %."""

    prototypes: Matrix
    quantiles: Vector

    @classmethod
    def load(cls, arrays: Mapping[str, Matrix]) -> Self:
        """The inverse of `arrays`. Raises KeyError or ValueError."""
        loaded = cls(arrays["prototypes"], arrays["quantiles"])
        if loaded.prototypes.ndim != 2 or not len(loaded.prototypes):
            raise ValueError("the novelty's prototypes are no rows")
        if loaded.quantiles.shape != LEVELS.shape or (np.diff(loaded.quantiles) < 0).any():
            raise ValueError(f"the novelty's quantiles are not {len(LEVELS)}, or do not rise")
        return loaded

    def arrays(self) -> Mapping[str, Matrix]:
        """The arrays that a composition stores."""
        return {"prototypes": self.prototypes, "quantiles": self.quantiles}

    def distances(self, features: Matrix) -> Vector:
        """1 - cosine to the nearest prototype, shape (rows,)."""
        embeddings = features[:, : self.prototypes.shape[1]]
        nearest: Vector = 1 - (embeddings @ self.prototypes.T).max(axis=1)
        return nearest

    def scores(self, features: Matrix) -> Vector:
        """0 (near)..1 (far), shape (rows,)."""
        scores: Vector = np.interp(self.distances(features), self.quantiles, LEVELS).astype(np.float32)
        return scores


def fit_prototypes(features: Matrix, seed: int = 0, dimension: int = DIMENSION) -> Matrix:
    """At most PROTOTYPES unit vectors that cover the embeddings in `features`, one per three prompts; of
    more than PROTOTYPES · SAMPLE prompts, a random sample of so many is clustered."""
    from faiss import Kmeans

    # Without duplicates: k-means warns of fewer distinct points than centres.
    embeddings = np.unique(features[:, :dimension], axis=0)
    count = max(1, min(PROTOTYPES, len(embeddings) // 3))
    clusters: Any = Kmeans(
        dimension,
        count,
        niter=ITERATIONS,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=SAMPLE,
    )
    clusters.train(np.ascontiguousarray(embeddings, dtype=np.float32))
    centres: Matrix = clusters.centroids
    prototypes: Matrix = (centres / np.linalg.norm(centres, axis=1, keepdims=True)).astype(np.float32)
    return prototypes


def fit_quantiles(held_out_distances: Vector) -> Vector:
    """The 101 percentiles of held-out distances."""
    quantiles: Vector = np.quantile(held_out_distances, LEVELS).astype(np.float32)
    return quantiles
