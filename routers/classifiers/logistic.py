"""Multinomial logistic regression over all features.

Wide columns (counts of the format part) are scaled to the spread of an embedding's before fitting, so that
one regularisation suits all; the scale is folded into the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from routers.request import Matrix

SPREAD = 0.06
"""Maximum standard deviation of a column while fitting; columns of embeddings have about 0.05."""
STRENGTH = 3.0
"""Inverse regularisation strength (1 to 10 make no measurable difference)."""


@dataclass(frozen=True, slots=True)
class LogisticClassifier:
    """`weights` (categories, features) and `bias` (1, categories)."""

    weights: Matrix
    bias: Matrix

    FILES: ClassVar[tuple[str, ...]] = ()
    """What `save_index` writes."""

    @classmethod
    def fit(cls, features: Matrix, labels: npt.NDArray[np.int64], categories: int) -> Self:
        """Fit on `features` (prompts, features); every category 0..categories-1 must be in `labels`."""
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=STRENGTH, max_iter=500, tol=1e-3)
        scale = np.minimum(1, SPREAD / np.maximum(features.std(axis=0), 1e-9)).astype(np.float32)
        model.fit(features * scale, labels)
        weights, bias = model.coef_ * scale, model.intercept_
        if categories == 2:  # scikit-learn keeps one row for two classes
            weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
        return cls(weights.astype(np.float32), bias.astype(np.float32)[None, :])

    @classmethod
    def load(cls, arrays: Mapping[str, Matrix], folder: Path) -> Self:
        loaded = cls(arrays["weights"], arrays["bias"])
        if loaded.weights.ndim != 2 or loaded.bias.shape != (1, loaded.categories):
            raise ValueError("the classifier's weights and bias do not agree")
        return loaded

    @property
    def categories(self) -> int:
        return len(self.weights)

    def logits(self, features: Matrix) -> Matrix:
        """Shape (rows, categories)."""
        return features @ self.weights.T + self.bias

    def arrays(self) -> Mapping[str, Matrix]:
        return {"weights": self.weights, "bias": self.bias}

    def save_index(self, folder: Path) -> None:
        """Nothing beyond its arrays."""
