"""Ranks with confidence limits."""

import numpy as np

from eval.rating.resampling import Floats, Ints


def ranks(scores: Floats) -> Ints:
    """Ordinal ranks, 1 for the best; ties by position, NaN last."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(np.where(np.isnan(scores), np.inf, -scores), "ordinal"), dtype=np.int64)


def rank_limits(samples: Floats, confidence: float) -> tuple[Ints, Ints]:
    """Percentile limits of the ranks of each column of `samples` (rounds, models); ties count with their best
    and worst rank, NaN last."""
    from scipy.stats import rankdata

    falling = np.where(np.isnan(samples), np.inf, -samples)
    tail = (1 - confidence) / 2
    low = np.quantile(rankdata(falling, "min", axis=1), tail, axis=0, method="lower")
    high = np.quantile(rankdata(falling, "max", axis=1), 1 - tail, axis=0, method="higher")
    return low.astype(np.int64), high.astype(np.int64)
