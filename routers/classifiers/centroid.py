"""Nearest class centroid with Laplace densities: p(c|x) ∝ exp(-‖x-μ_c‖/b_c)/b_c, heavy-tailed so that
distant requests stay uncertain."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from routers.encoder import DIMENSION
from routers.request import Matrix


@dataclass(frozen=True, slots=True)
class CentroidClassifier:
    """`centroids` (categories, dimension); `scales` (1, categories), mean distance to the centroid."""

    centroids: Matrix
    scales: Matrix

    FILES: ClassVar[tuple[str, ...]] = ()
    """What `save_index` writes."""

    @classmethod
    def fit(
        cls, features: Matrix, labels: npt.NDArray[np.int64], categories: int, dimension: int = DIMENSION
    ) -> Self:
        """Every category 0..categories-1 must occur in `labels`; `dimension` is the embedding's."""
        embeddings = features[:, :dimension]
        centroids = np.stack([embeddings[labels == each].mean(axis=0) for each in range(categories)])
        own = np.linalg.norm(embeddings - centroids[labels], axis=1)
        pooled = own.mean()
        # Shrunk to the pooled scale, which counts as ten prompts.
        scales = [
            (own[labels == each].sum() + 10 * pooled) / ((labels == each).sum() + 10)
            for each in range(categories)
        ]
        return cls(centroids.astype(np.float32), np.asarray(scales, dtype=np.float32)[None, :])

    @classmethod
    def load(cls, arrays: Mapping[str, Matrix], folder: Path) -> Self:
        loaded = cls(arrays["centroids"], arrays["scales"])
        if loaded.centroids.ndim != 2 or loaded.scales.shape != (1, loaded.categories):
            raise ValueError("the classifier's centroids and scales do not agree")
        return loaded

    @property
    def categories(self) -> int:
        return len(self.centroids)

    def logits(self, features: Matrix) -> Matrix:
        """Shape (rows, categories)."""
        embeddings = features[:, : self.centroids.shape[1]]
        squares = (embeddings**2).sum(axis=1, keepdims=True) + (self.centroids**2).sum(axis=1)
        distances = np.sqrt(np.maximum(squares - 2 * embeddings @ self.centroids.T, 0))
        logits: Matrix = -distances / self.scales - np.log(self.scales)
        return logits

    def arrays(self) -> Mapping[str, Matrix]:
        return {"centroids": self.centroids, "scales": self.scales}

    def save_index(self, folder: Path) -> None:
        """Nothing beyond its arrays."""
