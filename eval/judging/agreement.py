"""How far raters agree beyond chance. Knows nothing of judges.

Cohen 1960 and 1968 (weighted), Fleiss 1971. 1 is full agreement, 0 what chance gives.
"""

from collections.abc import Hashable, Sequence

import numpy as np


def cohen_kappa(
    first: Sequence[Hashable], second: Sequence[Hashable], *, order: Sequence[Hashable] = ()
) -> float | None:
    """Cohen's kappa of two raters over the same items.

    None without items, or when both always say the same one thing. With `order`, all categories from low
    to high, disagreements weigh by their squared distance.
    """
    categories = list(order) or sorted({*first, *second}, key=repr)
    place = {category: number for number, category in enumerate(categories)}
    count = len(categories)
    table = np.zeros((count, count))
    for one, other in zip(first, second, strict=True):
        table[place[one], place[other]] += 1
    if not table.sum():
        return None
    table /= table.sum()
    expected = np.outer(table.sum(axis=1), table.sum(axis=0))
    rows, columns = np.indices(table.shape)
    weights = (rows - columns) ** 2 if order else (rows != columns).astype(float)
    by_chance = float((weights * expected).sum())
    return None if by_chance == 0 else 1 - float((weights * table).sum()) / by_chance


def fleiss_kappa(ratings: Sequence[Sequence[Hashable]]) -> float | None:
    """Fleiss' kappa of items, each rated by the same number (2 or more) of raters; None when undefined."""
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
    """Spearman's rank correlation; None for fewer than three pairs or where one side never varies."""
    if len(first) < 3:
        return None
    one, other = _ranks(first), _ranks(second)
    if one.std() == 0 or other.std() == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def _ranks(values: Sequence[float]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(np.asarray(values, dtype=float), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: np.ndarray[tuple[int], np.dtype[np.float64]] = (ends - (counts - 1) / 2)[inverse]
    return means
