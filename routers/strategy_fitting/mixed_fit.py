"""Strategies of several: the best trial for each category."""

from collections.abc import Sequence

import numpy as np

from routers.strategies.mixed_policy import MixedPolicy
from routers.strategies.strategy_policy import Floats, Ints
from routers.strategy_fitting.training_data import (
    StrategyOutcome,
    StrategyTrial,
    TrainingData,
    means_by_category,
)

WEIGHTS = 24


def mixed_trials(
    data: TrainingData, trials: Sequence[StrategyTrial], name: str = "mixed"
) -> list[StrategyTrial]:
    """For each weight on cost, the best of `trials` per category, named `name`."""
    if not trials:
        return []
    category, count = data.category, data.categories
    scores, costs = (
        np.stack([means_by_category(getattr(each.outcome, column), category, count) for each in trials])
        for column in ("score", "cost")
    )
    found = {}
    for weight in weights(scores, costs):
        best = tuple((scores - weight * costs).argmax(axis=0).tolist())
        if best not in found:
            chosen = [trials[each] for each in best]
            policy = MixedPolicy(tuple(each.policy for each in chosen))
            found[best] = StrategyTrial(name, policy, _assembled([each.outcome for each in chosen], category))
    return list(found.values())


def weights(scores: Floats, costs: Floats) -> list[float]:
    """Weights on cost, geometrically from 0 to where the cheapest candidate wins; `scores` and `costs`
    (candidates, categories)."""
    score, cost = scores.mean(axis=1), costs.mean(axis=1)
    cheapest = cost.argmin()
    saved = cost - cost[cheapest]
    slopes = ((score - score[cheapest]) / np.where(saved > 0, saved, np.inf))[saved > 0]
    steepest = max(float(slopes.max(initial=0.0)), 1e-9)
    return [0.0, *np.geomspace(steepest / 300, steepest * 1.5, WEIGHTS).tolist()]


def _assembled(of_category: Sequence[StrategyOutcome], category: Ints) -> StrategyOutcome:
    rows = np.arange(len(category))
    stacked = (np.stack(columns) for columns in zip(*(each.columns() for each in of_category), strict=True))
    return StrategyOutcome(*(columns[category, rows] for columns in stacked))
