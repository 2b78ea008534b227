"""Per-request correction of the category utilities.

A forest predicts contrasts (each expert's score less the mean of all experts, so that the difficulty of the
request cancels) from principal components of the embedding, format features and the category posterior.
Stacking weights, fitted by cross-validation, blend it with the contrasts of the category; the difference from
the category's utilities is the correction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from routers.features import BEYOND_STATES, format_columns
from routers.forest import Forest
from routers.request import Matrix, Vector


@dataclass(frozen=True, slots=True)
class Projection:
    """PCA of embeddings: (embedding - `mean`) @ `components` (dimension, k)."""

    components: Matrix
    mean: Vector

    def apply(self, features: Matrix) -> Matrix:
        """Shape (rows, k)."""
        centred: Matrix = features[:, : len(self.mean)] - self.mean
        projected: Matrix = np.matmul(centred, self.components)
        return projected


@dataclass(frozen=True, slots=True)
class Correction:
    """`forest` predicts contrasts less `means` (experts,), the average contrasts, already scaled by its
    stacking weight; `category` (experts, experts) multiplies the category's contrasts.
    """

    projection: Projection
    forest: Forest
    category: Matrix
    means: Vector

    def predict(self, features: Matrix, posterior: Matrix, utilities: Matrix) -> Matrix:
        """The term to add to `utilities` (rows, experts); each row has mean zero."""
        own = contrasts(utilities) - self.means
        blended: Matrix = own @ self.category - own
        blended += self.forest.predict(forest_inputs(self.projection, features, posterior))
        return contrasts(blended)

    def check(self, categories: int, experts: int) -> None:
        """Raises ValueError or IndexError unless a zero request can be predicted with these dimensions.

        There may be more `experts` than it was fitted for: those that were added later."""
        fitted, dimension = len(self.means), len(self.projection.mean)
        if fitted > experts:
            raise ValueError(f"the correction is of {fitted} experts, there are {experts}")
        found = self.predict(
            np.zeros((1, dimension + BEYOND_STATES), dtype=np.float32),
            np.full((1, categories), 1 / categories, dtype=np.float32),
            np.zeros((1, fitted), dtype=np.float32),
        )
        if found.shape != (1, fitted) or not np.isfinite(found).all():
            raise ValueError("the correction's arrays do not agree")

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """What a composition keeps of it."""
        return {
            "projection.components": self.projection.components,
            "projection.mean": self.projection.mean,
            "category": self.category,
            "means": self.means,
            **{f"forest.{name}": array for name, array in self.forest.arrays().items()},
        }

    @classmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """From what `arrays` gave. Raises KeyError and ValueError."""
        return cls(
            Projection(arrays["projection.components"], arrays["projection.mean"]),
            Forest.load(strip_prefix("forest.", arrays)),
            arrays["category"],
            arrays["means"],
        )


def contrasts(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Each row less its mean."""
    # A third of the time of ndarray.mean for one row.
    centred: npt.NDArray[Any] = values - np.add.reduce(values, axis=1, keepdims=True) / values.shape[1]
    return centred


def forest_inputs(projection: Projection, features: Matrix, posterior: Matrix) -> Matrix:
    """Principal components, format features and posterior side by side, (rows, columns)."""
    return np.concatenate([projection.apply(features), format_columns(features), posterior], axis=1)


def strip_prefix(prefix: str, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The arrays whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
