"""Inter-rater agreement: Cohen's kappa (1960; weighted 1968), Fleiss' kappa (1971), Spearman's
correlation."""

from collections.abc import Hashable, Sequence

import numpy as np


def cohen_kappa(
    first: Sequence[Hashable], second: Sequence[Hashable], *, order: Sequence[Hashable] = ()
) -> float | None:
    """Cohen's kappa of two raters over the same items; None with fewer than two categories used. With
    `order`, all categories from low to high, quadratically weighted."""
    if len({*first, *second}) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score

    categories = list(order) or sorted({*first, *second}, key=repr)
    place = {category: number for number, category in enumerate(categories)}
    return float(
        cohen_kappa_score(
            [place[each] for each in first],
            [place[each] for each in second],
            labels=range(len(categories)),
            weights="quadratic" if order else None,
        )
    )


def fleiss_kappa(ratings: Sequence[Sequence[Hashable]]) -> float | None:
    """Fleiss' kappa of items with the same number (2 or more) of ratings; None when undefined. (Not in scipy
    or scikit-learn.)"""
    raters = len(ratings[0]) if ratings else 0
    if raters < 2:
        return None
    categories = sorted({each for item in ratings for each in item}, key=repr)
    counts = np.array([[list(item).count(each) for each in categories] for item in ratings], dtype=float)
    if (counts.sum(axis=1) != raters).any():
        raise ValueError("every item must be rated by the same number of raters")
    agreed = float((((counts**2).sum(axis=1) - raters) / (raters * (raters - 1))).mean())
    by_chance = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    return None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None for fewer than three pairs or constant values."""
    if len(first) < 3 or len(set(first)) < 2 or len(set(second)) < 2:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)
