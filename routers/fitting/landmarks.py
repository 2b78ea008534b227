"""Fitting the kernel regression of a correction (`routers.kernel`)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from routers.features import format_columns, lexical_columns
from routers.fitting.splits import Index
from routers.kernel import KernelRegression, embedding_kernel, format_kernel, standardised
from routers.request import Matrix, Vector

LANDMARKS = 384
KERNELS = ((6.0, False), (2.0, True))
"""Candidates: sharpness of the embedding kernel, and whether lexical and format kernels are added."""


@dataclass(frozen=True, slots=True)
class KernelBasis:
    """Kernel values of all prompts and landmarks, (prompts, landmarks), with the kernel's parameters."""

    similarities: Matrix
    rows: Index
    landmarks: Matrix
    formats: Matrix
    lexical: Matrix
    mean: Vector
    scale: Vector
    sharpness: float
    whole: bool

    def solve(
        self, rows: Index, targets: npt.NDArray[np.float64], strength: float
    ) -> npt.NDArray[np.float64]:
        """Weights of the landmarks, (landmarks, outputs), fitted on `rows` with ridge `strength`."""
        from scipy.linalg import solve

        known = self.similarities[rows].astype(np.float64)
        among = self.similarities[self.rows].astype(np.float64)
        system = known.T @ known + strength * among + 1e-3 * np.eye(len(among))
        weights: npt.NDArray[np.float64] = solve(system, known.T @ targets, assume_a="pos")
        return weights

    def regression(self, weights: npt.NDArray[np.float64]) -> KernelRegression:
        """The regression with these weights."""
        outputs = weights.shape[1]
        lexical = self.lexical.T @ weights if self.whole else np.zeros((0, outputs))
        return KernelRegression(
            landmarks=self.landmarks,
            formats=self.formats if self.whole else self.formats[:, :0],
            weights=weights.astype(np.float32),
            lexical=lexical.astype(np.float32),
            mean=self.mean,
            scale=self.scale,
            settings=np.asarray([self.sharpness, float(self.whole)], dtype=np.float32),
        )


def kernel_basis(
    features: Matrix, dimension: int, sharpness: float, whole: bool, seed: int = 0
) -> KernelBasis:
    """A basis of at most LANDMARKS randomly drawn distinct prompts."""
    from scipy.sparse import csr_matrix

    distinct = np.unique(features[:, :dimension], axis=0, return_index=True)[1]
    chosen = np.random.default_rng(seed).permutation(distinct)[:LANDMARKS]
    rows: Index = np.sort(chosen).astype(np.int64)
    formats = format_columns(features)
    mean, scale = formats.mean(axis=0), formats.std(axis=0)
    # Nearly constant columns are not scaled up.
    scale = np.where(scale < 1e-3, 1.0, scale).astype(np.float32)
    landmarks = np.ascontiguousarray(features[rows, :dimension])
    shapes = standardised(features[rows], mean, scale)
    lexical = np.ascontiguousarray(lexical_columns(features)[rows])
    similarities = embedding_kernel(features, landmarks, sharpness)
    if whole:
        similarities += format_kernel(standardised(features, mean, scale), shapes, (shapes**2).sum(axis=1))
        similarities += np.asarray(csr_matrix(lexical_columns(features)) @ lexical.T)
    return KernelBasis(
        similarities, rows, landmarks, shapes, lexical, mean.astype(np.float32), scale, sharpness, whole
    )
