"""Ranks and how sure they are."""

import numpy as np

from eval.rating.resampling import Floats, Ints


def ranks(scores: Floats) -> Ints:
    """1 for the best; equals in the order in which they come, so that every rank is there once."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(np.where(np.isnan(scores), np.inf, -scores), "ordinal"), dtype=np.int64)


def rank_limits(samples: Floats, confidence: float) -> tuple[Ints, Ints]:
    """The best and the worst rank of each column of `samples` (rounds, models) but for a share of
    1 - `confidence` of the rounds. Equals share all their ranks; NaN ranks last."""
    from scipy.stats import rankdata

    falling = np.where(np.isnan(samples), np.inf, -samples)
    tail = (1 - confidence) / 2
    low = np.quantile(rankdata(falling, "min", axis=1), tail, axis=0, method="lower")
    high = np.quantile(rankdata(falling, "max", axis=1), 1 - tail, axis=0, method="higher")
    return low.astype(np.int64), high.astype(np.int64)
