"""Multinomial logistic regression over all features; at run time one matrix product."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from routers.request import Matrix


@dataclass(frozen=True, slots=True)
class LogisticClassifier:
    """`weights` (categories, features) and `bias` (1, categories)."""

    weights: Matrix
    bias: Matrix

    @classmethod
    def fit(
        cls,
        features: Matrix,
        labels: npt.NDArray[np.int64],
        categories: int,
        strengths: Sequence[float] = (1.0, 3.0, 10.0),
    ) -> Self:
        """Fit on `features` (prompts, features).

        The inverse regularisation is the one of `strengths` with the least log-loss over 4 folds.

        Every category 0..categories-1 must occur in `labels`.
        """
        from scipy.sparse import csr_matrix
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold

        rows = csr_matrix(features)  # the lexical part is nearly all zeros
        strength = strengths[0]
        if len(strengths) > 1 and np.bincount(labels).min() >= 4:
            folds = list(StratifiedKFold(4, shuffle=True, random_state=0).split(rows, labels))
            losses = [_held_out_loss(rows, labels, folds, each) for each in strengths]
            strength = strengths[int(np.argmin(losses))]
        model = LogisticRegression(C=strength, max_iter=500, tol=1e-3).fit(rows, labels)
        weights, bias = model.coef_, model.intercept_
        if categories == 2:  # scikit-learn keeps one row for two classes
            weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
        return cls(weights.astype(np.float32), bias.astype(np.float32)[None, :])

    @classmethod
    def load(cls, arrays: Mapping[str, Matrix], folder: Path) -> Self:
        return cls(arrays["weights"], arrays["bias"])

    def logits(self, features: Matrix) -> Matrix:
        """Shape (rows, categories)."""
        return features @ self.weights.T + self.bias

    def arrays(self) -> Mapping[str, Matrix]:
        return {"weights": self.weights, "bias": self.bias}

    def save_index(self, folder: Path) -> None:
        """Nothing beyond its arrays."""


def _held_out_loss(
    rows: Any,  # a scipy sparse matrix; scipy has no types
    labels: npt.NDArray[np.int64],
    folds: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
    strength: float,
) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    total = 0.0
    for fit, held in folds:
        model = LogisticRegression(C=strength, max_iter=500, tol=1e-3).fit(rows[fit], labels[fit])
        total += float(log_loss(labels[held], model.predict_proba(rows[held]), labels=model.classes_))
    return total
