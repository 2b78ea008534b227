"""Combining strategies: the best one for each category."""

from collections.abc import Sequence

import numpy as np

from eval.strategies.answer_table import Floats, Ints
from eval.strategies.folds import Fold
from eval.strategies.trials import StrategyOutcome, StrategyTrial

PRIOR = 1000.0
"""Pseudo-count of the overall mean in a category's mean."""
WEIGHTS = 24


def mixed_trials(fold: Fold, families: Sequence[tuple[str, Sequence[StrategyTrial]]]) -> list[StrategyTrial]:
    """For each weight on parameters, the best trial of all `families` (name, trials) per category."""
    named = [(name, trial) for name, trials in families for trial in trials]
    if not named:
        return []
    count = len(fold.categories)
    scores, costs = (
        np.stack([means_by_category(getattr(t.fitted, column), fold.fit.category, count) for _, t in named])
        for column in ("score", "active")
    )
    found = {}
    for weight in weights(scores, costs):
        best = tuple((scores - weight * costs).argmax(axis=0).tolist())
        if best not in found:
            found[best] = StrategyTrial(
                {},
                _assembled([named[each][1].fitted for each in best], fold.fit.category),
                _assembled([named[each][1].held_out for each in best], fold.held_out.category),
                tuple(
                    {"strategy": named[each][0], **named[each][1].settings_in(category)}
                    for category, each in enumerate(best)
                ),
            )
    return list(found.values())


def means_by_category(values: Floats, category: Ints, categories: int) -> Floats:
    """Means of `values` (prompts,) by category, (categories,), shrunk to the overall mean."""
    size = np.bincount(category, minlength=categories)
    mean = np.bincount(category, weights=values, minlength=categories) / np.maximum(size, 1)
    share = size / (size + PRIOR)
    return np.asarray(share * mean + (1 - share) * values.mean(), dtype=np.float64)


def weights(scores: Floats, costs: Floats) -> list[float]:
    """Weights on parameters, geometrically from 0 to where the cheapest candidate wins; `scores` and `costs`
    (candidates, categories)."""
    score, cost = scores.mean(axis=1), costs.mean(axis=1)
    cheapest = cost.argmin()
    saved = cost - cost[cheapest]
    slopes = ((score - score[cheapest]) / np.where(saved > 0, saved, np.inf))[saved > 0]
    steepest = max(float(slopes.max(initial=0.0)), 1e-6)
    return [0.0, *np.geomspace(steepest / 300, steepest * 1.5, WEIGHTS).tolist()]


def _assembled(of_category: Sequence[StrategyOutcome], category: Ints) -> StrategyOutcome:
    rows = np.arange(len(category))
    stacked = (np.stack(columns) for columns in zip(*(each.columns() for each in of_category), strict=True))
    return StrategyOutcome(*(columns[category, rows] for columns in stacked))
