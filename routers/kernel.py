"""Kernel ridge regression with the Nyström approximation (Williams & Seeger 2001).

The kernel is a sum of three: exp(sharpness·(cosine - 1)) of the embeddings, the dot product of the lexical
parts, and exp(-‖difference‖²/2d) of the d standardised format features. The lexical kernel is linear, so
its landmarks fold into one matrix of weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from routers import format_features
from routers.features import LEXICAL, format_columns, lexical_columns
from routers.request import Matrix, Vector


@dataclass(frozen=True)
class KernelRegression:
    """`landmarks` (m, dimension) embeddings and `formats` (m, d) standardised format features;
    `weights` (m, outputs), `lexical` (LEXICAL, outputs); `mean`, `scale` (d,) of the format features;
    `settings` (2,): sharpness, and 1 if the kernel has lexical and format parts, else 0.
    """

    landmarks: Matrix
    formats: Matrix
    weights: Matrix
    lexical: Matrix
    mean: Vector
    scale: Vector
    settings: Vector

    def predict(self, features: Matrix) -> Matrix:
        """Shape (rows, outputs) for rows of `routers.features`."""
        sharpness, whole = float(self.settings[0]), bool(self.settings[1])
        near = embedding_kernel(features, self.landmarks, sharpness)
        if not whole:
            return near @ self.weights
        near += format_kernel(
            standardised(features, self.mean, self.scale), self.formats, self.squared_lengths
        )
        total: Matrix = near @ self.weights + lexical_columns(features) @ self.lexical
        return total

    @cached_property
    def squared_lengths(self) -> Vector:
        """‖format features‖² of the landmarks, (m,)."""
        lengths: Vector = (self.formats**2).sum(axis=1)
        return lengths

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """The arrays that a composition stores."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The inverse of `arrays`. Raises KeyError or ValueError."""
        loaded = cls(**{field.name: arrays[field.name] for field in fields(cls)})
        if loaded.settings[1] and (
            loaded.lexical.shape[0] != LEXICAL or loaded.formats.shape[1] != format_features.COUNT
        ):
            raise ValueError("the kernel regression was fitted on other features")
        return loaded


def embedding_kernel(features: Matrix, landmarks: Matrix, sharpness: float) -> Matrix:
    """exp(sharpness·(cosine - 1)), shape (rows, landmarks)."""
    cosine = features[:, : landmarks.shape[1]] @ landmarks.T
    kernel: Matrix = np.exp(np.float32(sharpness) * (cosine - np.float32(1)))
    return kernel


def format_kernel(rows: Matrix, landmarks: Matrix, squared_lengths: Vector) -> Matrix:
    """exp(-‖difference‖²/2d) of standardised format features, shape (rows, landmarks); `squared_lengths`
    (landmarks,) are those of the landmarks."""
    squares = (rows**2).sum(axis=1)[:, None] + squared_lengths - 2 * rows @ landmarks.T
    kernel: Matrix = np.exp(np.maximum(squares, 0) * np.float32(-0.5 / rows.shape[1]))
    return kernel


def standardised(features: Matrix, mean: Vector, scale: Vector) -> Matrix:
    """The format part of rows of features as clipped z-scores, shape (rows, d)."""
    scores: Matrix = np.clip((format_columns(features) - mean) / scale, -4, 4)
    return scores
