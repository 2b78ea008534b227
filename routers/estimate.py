"""What a composition expects of each expert for given requests: the quantities a decision ranks by.

Vectorised over requests, so that one request and a whole outcome table take the same path.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from routers.calibration import softmax
from routers.composition import Composition
from routers.policy import Policy
from routers.request import Matrix, Vector

BLOCK = 512
"""Rows that one core takes at once from a table."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """`posterior` (requests, categories), rows sum to one; `utilities` Σ_c p(c|x)·U[c,e] and
    `corrections` by the request itself (requests, experts); `novelty` (requests,), 0 near..1 far.
    """

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
        """What decisions of `policy` rest on, (requests, experts)."""
        total: Matrix = self.utilities + np.float32(policy.trust) * self.corrections
        return total


def estimate(composition: Composition, features: Matrix, *, trust: float = 1.0) -> Estimate:
    """Estimates for rows of `routers.features`; of corrections the share `trust`."""
    posterior = softmax(composition.classifier.logits(features), composition.temperature)
    utilities = posterior @ composition.utilities
    if composition.correction is None or not trust:
        corrections = np.zeros_like(utilities)
    else:
        # An expert that joined later (`routers.new_expert`) comes after those that were fitted: zero for it.
        fitted = len(composition.correction.means)
        corrections = np.zeros_like(utilities)
        found = composition.correction.predict(features, posterior, utilities[:, :fitted])
        corrections[:, :fitted] = np.float32(trust) * found
    return Estimate(posterior, utilities, corrections, composition.novelty.scores(features))


def estimate_table(composition: Composition, features: Matrix, threads: int | None = None) -> Estimate:
    """The same as `estimate` for many rows, on all cores (or `threads`)."""
    blocks = [features[start : start + BLOCK] for start in range(0, len(features), BLOCK)]
    if not blocks:
        return estimate(composition, features)
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        return _joined(list(pool.map(lambda block: estimate(composition, block), blocks)))


def _joined(parts: Sequence[Estimate]) -> Estimate:
    return Estimate(
        np.concatenate([part.posterior for part in parts]),
        np.concatenate([part.utilities for part in parts]),
        np.concatenate([part.corrections for part in parts]),
        np.concatenate([part.novelty for part in parts]),
    )
