"""Expected scores of each expert for requests; one request and a whole table take the same path."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from routers.calibration import softmax
from routers.composition import Composition
from routers.policy import Policy
from routers.request import Matrix, Vector

BLOCK = 512
"""Rows per task of `estimate_table`."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """`posterior` (requests, categories); `utilities` Σ_c p(c|x)·U[c,e] and `corrections` (requests,
    experts); `novelty` (requests,), 0..1."""

    posterior: Matrix
    utilities: Matrix
    corrections: Matrix
    novelty: Vector

    @property
    def expected(self) -> Matrix:
        """Expected score of each expert, (requests, experts)."""
        total: Matrix = self.utilities + self.corrections
        return total

    def under(self, policy: Policy) -> Matrix:
        """Expected scores with the corrections weighted by `policy.trust`, (requests, experts)."""
        total: Matrix = self.utilities + np.float32(policy.trust) * self.corrections
        return total

    def take(self, rows: npt.NDArray[np.int64]) -> "Estimate":
        """Those of these requests."""
        return Estimate(*(getattr(self, field.name)[rows] for field in fields(Estimate)))


def estimate(composition: Composition, features: Matrix, *, trust: float = 1.0) -> Estimate:
    """Estimates for rows of `routers.features`, with corrections scaled by `trust`."""
    posterior = softmax(composition.classifier.logits(features), composition.temperature)
    utilities = posterior @ composition.utilities
    corrections = np.zeros_like(utilities)
    if composition.correction is not None and trust:
        # Experts that were added later come last and have no correction.
        fitted = len(composition.correction.means)
        found = composition.correction.predict(features, posterior, utilities[:, :fitted])
        corrections[:, :fitted] = np.float32(trust) * found
    return Estimate(posterior, utilities, corrections, composition.novelty.scores(features))


def estimate_table(composition: Composition, features: Matrix, threads: int | None = None) -> Estimate:
    """`estimate` for many rows, on all cores (or `threads`)."""
    blocks = [features[start : start + BLOCK] for start in range(0, len(features), BLOCK)]
    if not blocks:
        return estimate(composition, features)
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        parts = list(pool.map(lambda block: estimate(composition, block), blocks))
    return Estimate(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Estimate)))
