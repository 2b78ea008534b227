"""The choices of `routers.decide` for a whole table of requests without pins, rules, conversations or
requirements, vectorised."""

import numpy as np
import numpy.typing as npt

from routers.composition import Composition, best_of
from routers.estimate import Estimate
from routers.policy import Policy

Choices = npt.NDArray[np.int64]
"""The column of the chosen expert for each row."""


def choose(composition: Composition, policy: Policy, estimate: Estimate) -> Choices:
    """The expert that `decide` would choose for each row, as a column of the composition."""
    values = estimate.under(policy) - composition.costs(estimate.posterior, policy)
    best = best_of(values, composition.experts)
    generalist = composition.expert_names.index(policy.generalist)
    chosen: Choices = np.where(is_sure(policy, estimate), best, generalist)
    return chosen


def is_sure(policy: Policy, estimate: Estimate) -> npt.NDArray[np.bool_]:
    """Whether stage 1 counts each row as classified."""
    # Compared in double precision, as `decide` does.
    confidence = estimate.posterior.max(axis=1).astype(np.float64)
    novelty = estimate.novelty.astype(np.float64)
    sure: npt.NDArray[np.bool_] = (confidence >= policy.threshold) & (novelty <= policy.ood_threshold)
    return sure
