"""Ranks and how sure they are."""

import numpy as np

from eval.rating.resampling import Floats, Ints


def ranks(scores: Floats) -> Ints:
    """1 for the best; equals in the order in which they come, so that every rank is there once."""
    order = np.argsort(-scores, kind="stable")
    placed = np.empty(len(scores), dtype=np.int64)
    placed[order] = np.arange(1, len(scores) + 1)
    return placed


def rank_limits(samples: Floats, confidence: float) -> tuple[Ints, Ints]:
    """The best and the worst rank of each column of `samples` (rounds, models) but for a share of
    1 - `confidence` of the rounds. NaN ranks last."""
    filled = np.where(np.isnan(samples), -np.inf, samples)
    order = np.argsort(-filled, axis=1, kind="stable")
    placed = np.empty_like(order)
    np.put_along_axis(placed, order, np.broadcast_to(np.arange(1, order.shape[1] + 1), order.shape), axis=1)
    tail = (1 - confidence) / 2
    low = np.quantile(placed, tail, axis=0, method="lower")
    high = np.quantile(placed, 1 - tail, axis=0, method="higher")
    return low.astype(np.int64), high.astype(np.int64)
