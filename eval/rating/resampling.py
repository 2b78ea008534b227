"""The bootstrap over questions, as multiplications of matrices.

A round draws as many questions as there are, with replacement; a question drawn twice counts twice with
all its verdicts. What a statistic needs is summed per question first, so a round is one row of
multiplicities times that sum (Efron & Tibshirani 1993, §8: resample the independent units).
`scipy.stats.bootstrap` would draw for each statistic anew; ours are compared on the same draws.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CELLS = 4_000_000
"""Numbers held at once for a block of rounds, about 32 MB."""


def sums_by_question(question: Ints, column: Ints, values: Floats, questions: int, columns: int) -> Any:
    """A sparse (questions, columns) matrix of the sums of `values` (n,) at `question`, `column` (n,)."""
    from scipy.sparse import csr_array

    return csr_array((values, (question, column)), shape=(questions, columns))


def multiplicities(questions: int, rounds: int, seed: int, width: int = 1) -> Iterator[Floats]:
    """Blocks of shape (some rounds, questions): how often each question was drawn in each round.

    `width` is how many numbers a round needs elsewhere, so that blocks stay within memory. The draws
    depend on `seed` alone, not on the blocks.
    """
    random = np.random.default_rng(seed)
    block = max(1, min(rounds, CELLS // max(questions, width, 1)))
    for start in range(0, rounds, block):
        size = min(block, rounds - start)
        drawn = np.empty((size, questions), dtype=np.float64)
        for each in range(size):
            drawn[each] = np.bincount(random.integers(questions, size=questions), minlength=questions)
        yield drawn


def resampled_means(values: Floats, rounds: int, seed: int) -> Floats:
    """Means of the columns of `values` (questions, ·) in each round, (rounds, ·)."""
    drawn = multiplicities(len(values), rounds, seed)
    return np.concatenate([block @ values / len(values) for block in drawn])


def interval(samples: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Percentile limits of each column of `samples` (rounds, statistics), NaN rounds left out."""
    tail = (1 - confidence) / 2
    complete = ~np.isnan(samples).any()
    quantile = np.quantile if complete else np.nanquantile
    empty = np.isnan(samples).all(axis=0)
    filled = np.where(empty, 0.0, samples) if empty.any() else samples
    low, high = quantile(filled, [tail, 1 - tail], axis=0)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)
