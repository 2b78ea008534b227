"""The bootstrap over questions (the independent units: Efron & Tibshirani 1993, §8) as matrix products of
multiplicities and sums per question. Unlike `scipy.stats.bootstrap`, all statistics share the same draws."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CELLS = 4_000_000
"""Array elements per block of rounds, about 32 MB."""


def sums_by_question(question: Ints, column: Ints, values: Floats, questions: int, columns: int) -> Any:
    """Sparse (questions, columns) matrix of sums of `values` (n,) at `question`, `column` (n,)."""
    from scipy.sparse import csr_array

    return csr_array((values, (question, column)), shape=(questions, columns))


def multiplicities(questions: int, rounds: int, seed: int, width: int = 1) -> Iterator[Floats]:
    """Blocks (rounds, questions) of how often each question is drawn; `width`: numbers per round that the
    caller needs, to bound memory. Independent of the block size."""
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
    """Percentile limits of each column of `samples` (rounds, statistics), ignoring NaN."""
    tail = (1 - confidence) / 2
    complete = ~np.isnan(samples).any()
    quantile = np.quantile if complete else np.nanquantile
    empty = np.isnan(samples).all(axis=0)
    filled = np.where(empty, 0.0, samples) if empty.any() else samples
    low, high = quantile(filled, [tail, 1 - tail], axis=0)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)
