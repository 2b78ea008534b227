"""Stratified cross-validation folds that keep identical prompts together."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

FOLDS = 5

Index = npt.NDArray[np.int64]


def assign_folds(prompts: Sequence[str], labels: Index, folds: int = FOLDS, seed: int = 0) -> Index:
    """The fold 0..folds-1 of each prompt, shape (prompts,).

    Prompts are compared stripped; a repeated prompt counts for its first category. Fold sizes differ by at
    most one distinct prompt.
    """
    first: dict[str, int] = {}
    group = [first.setdefault(prompt.strip(), row) for row, prompt in enumerate(prompts)]
    distinct = np.asarray(sorted(first.values()), dtype=np.int64)
    random = np.random.default_rng(seed)
    shuffled = distinct[random.permutation(len(distinct))]
    dealt = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold = np.zeros(len(prompts), dtype=np.int64)
    fold[dealt] = np.arange(len(dealt)) % folds
    return fold[np.asarray(group, dtype=np.int64)] if len(group) else fold


def fold_splits(folds: Index) -> Iterator[tuple[Index, Index]]:
    """(training rows, held-out rows) of every fold."""
    for each in np.unique(folds):
        yield np.flatnonzero(folds != each), np.flatnonzero(folds == each)


def distinct_prompts(prompts: Sequence[str], labels: Index, categories: int) -> Index:
    """Number of distinct prompts per category, by first occurrence: shape (categories,)."""
    first: dict[str, int] = {}
    for row, prompt in enumerate(prompts):
        first.setdefault(prompt.strip(), row)
    counted: Index = np.bincount(labels[list(first.values())], minlength=categories)
    return counted
