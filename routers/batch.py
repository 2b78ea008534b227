"""Deciding a whole table at once: the choices that `routers.decide` makes for plain requests.

A plain request has no pin, rule, conversation, limit or wish of its own; what is left of the decision
is stage 1, the value of each expert and the fallback, which vectorise.
"""

import numpy as np
import numpy.typing as npt

from routers.composition import Composition, best_of, costs
from routers.estimate import Estimate
from routers.policy import Policy

Choices = npt.NDArray[np.int64]
"""The column of the chosen expert for each row."""


def choose(composition: Composition, policy: Policy, estimate: Estimate) -> Choices:
    """The expert that `decide` would choose for each row, as a column of the composition."""
    values = estimate.under(policy) - costs(composition.experts, policy)
    best = best_of(values, composition.experts)
    generalist = composition.expert_names.index(policy.generalist)
    chosen: Choices = np.where(is_sure(policy, estimate), best, generalist)
    return chosen


def is_sure(policy: Policy, estimate: Estimate) -> npt.NDArray[np.bool_]:
    """Whether stage 1 counts each row as classified."""
    # In double precision, as a decision compares: a threshold must not be rounded to single.
    confidence = estimate.posterior.max(axis=1).astype(np.float64)
    novelty = estimate.novelty.astype(np.float64)
    sure: npt.NDArray[np.bool_] = (confidence >= policy.threshold) & (novelty <= policy.ood_threshold)
    return sure
