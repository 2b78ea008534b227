"""What one request adds to the utilities of its category: the second look, shown beside the first.

Two regressions of how experts differ, on the request itself: a forest on a compact view of it
(principal components of the embedding, format features, the posterior over categories) and kernel
ridge on landmarks. Both predict contrasts (an expert against the mean of all), since how hard a
request is for everybody changes no ranking. Validation blends them with the category's own contrasts;
what then differs from the category's utility is the correction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from routers.features import BEYOND_EMBEDDING, format_columns
from routers.forest import Forest
from routers.kernel import KernelRegression
from routers.request import Matrix, Vector


@dataclass(frozen=True, slots=True)
class Projection:
    """Principal components of embeddings: (embedding - mean) @ `components`, which is (dimension, k)."""

    components: Matrix
    mean: Vector

    def apply(self, features: Matrix) -> Matrix:
        """Shape (rows, k)."""
        centred: Matrix = features[:, : len(self.mean)] - self.mean
        projected: Matrix = np.matmul(centred, self.components)
        return projected


@dataclass(frozen=True, slots=True)
class Correction:
    """Forest and kernel predict contrasts (experts,) beyond `means`, those of the average request, with
    their weights in the blend already in them; `category` (experts, experts) is what becomes of the
    category's own, so that zeros replace it and the identity keeps it whole.
    """

    projection: Projection
    forest: Forest | None
    kernel: KernelRegression | None
    category: Matrix
    means: Vector

    def predict(self, features: Matrix, posterior: Matrix, utilities: Matrix) -> Matrix:
        """What to add to `utilities` (rows, experts), the category's; of each row the mean is zero."""
        own = contrasts(utilities) - self.means
        blended: Matrix = own @ self.category - own
        if self.forest is not None:
            blended += self.forest.predict(self.inputs(features, posterior))
        if self.kernel is not None:
            blended += self.kernel.predict(features)
        return contrasts(blended)

    def inputs(self, features: Matrix, posterior: Matrix) -> Matrix:
        """The forest's view of a request."""
        return forest_inputs(self.projection, features, posterior)

    def check(self, categories: int, experts: int) -> None:
        """Raises ValueError (or IndexError) unless it fits so many categories and experts, of whom later
        ones may have joined without it, and its parts fit each other: by predicting for an empty request."""
        fitted, dimension = len(self.means), len(self.projection.mean)
        if fitted > experts:
            raise ValueError(f"the correction is of {fitted} experts, there are {experts}")
        found = self.predict(
            np.zeros((1, dimension + BEYOND_EMBEDDING), dtype=np.float32),
            np.full((1, categories), 1 / categories, dtype=np.float32),
            np.zeros((1, fitted), dtype=np.float32),
        )
        if found.shape != (1, fitted) or not np.isfinite(found).all():
            raise ValueError("the correction's arrays do not agree")

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """What a composition keeps of it."""
        kept: dict[str, npt.NDArray[Any]] = {
            "projection.components": self.projection.components,
            "projection.mean": self.projection.mean,
            "category": self.category,
            "means": self.means,
        }
        for name, part in (("forest", self.forest), ("kernel", self.kernel)):
            if part is not None:
                kept |= {f"{name}.{key}": array for key, array in part.arrays().items()}
        return kept

    @classmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """From what `arrays` gave. Raises KeyError and ValueError."""
        forest, kernel = under("forest.", arrays), under("kernel.", arrays)
        return cls(
            Projection(arrays["projection.components"], arrays["projection.mean"]),
            Forest.load(forest) if forest else None,
            KernelRegression.load(kernel) if kernel else None,
            arrays["category"],
            arrays["means"],
        )


def contrasts(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Each row less its mean."""
    # What ndarray.mean does, in a third of its time for one row.
    centred: npt.NDArray[Any] = values - np.add.reduce(values, axis=1, keepdims=True) / values.shape[1]
    return centred


def forest_inputs(projection: Projection, features: Matrix, posterior: Matrix) -> Matrix:
    """Principal components, format features and posterior side by side, (rows, columns)."""
    return np.concatenate([projection.apply(features), format_columns(features), posterior], axis=1)


def under(prefix: str, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The arrays whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
