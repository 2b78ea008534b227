"""Fits the cosine from which two replies to an open question count as the same answer."""

import numpy as np

from routers.strategies.strategy_policy import Floats
from routers.strategy_fitting.recorded_answers import RecordedAnswers

CANDIDATES = np.round(np.arange(0.5, 1.0, 0.02), 2)
RIGHT = 0.5
"""Score from which a reply counts as right."""
MIN_PAIRS = 30
"""Pairs of each kind that are needed."""
MIN_ACCURACY = 0.6
"""Balanced accuracy below which the likeness of replies says too little."""


def fit_likeness(recorded: RecordedAnswers) -> float | None:
    """The threshold of highest balanced accuracy in telling pairs of right replies, which say the same, from
    pairs of a right and a wrong one, which do not. None without enough pairs, or where it tells too little:
    then only equal texts are the same answer."""
    if recorded.cosines is None:
        return None
    same, different = _pairs(recorded)
    if min(len(same), len(different)) < MIN_PAIRS:
        return None
    accuracies = [((same >= each).mean() + (different < each).mean()) / 2 for each in CANDIDATES]
    best = int(np.argmax(accuracies))
    return float(CANDIDATES[best]) if accuracies[best] >= MIN_ACCURACY else None


def _pairs(recorded: RecordedAnswers) -> tuple[Floats, Floats]:
    """Cosines of pairs of right replies, and of pairs of a right and a wrong one."""
    cosines = recorded.cosines
    if cosines is None:
        return np.empty(0), np.empty(0)
    right = recorded.scores >= RIGHT
    there = recorded.known & (recorded.answers >= 0)
    first, second = np.triu_indices(right.shape[1], k=1)
    both = there[:, first] & there[:, second] & ~np.isnan(cosines[:, first, second])
    pairs = cosines[:, first, second]
    same = both & right[:, first] & right[:, second]
    different = both & (right[:, first] != right[:, second])
    return pairs[same], pairs[different]
