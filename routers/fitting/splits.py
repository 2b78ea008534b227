"""Folds for validation: stratified by category, identical prompts always on the same side."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

FOLDS = 5

Index = npt.NDArray[np.int64]


def fold_of_each(prompts: Sequence[str], labels: Index, folds: int = FOLDS, seed: int = 0) -> Index:
    """The fold 0..folds-1 of each prompt, shape (prompts,).

    Prompts that differ in white space at their ends only are one; a repeated prompt counts for the
    category in which it came first. Categories are dealt out one after the other, so that the folds'
    sizes differ by at most one distinct prompt.
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


def fits(folds: Index) -> Iterator[tuple[Index, Index]]:
    """(rows to fit on, rows held out) of every fold."""
    for each in np.unique(folds):
        yield np.flatnonzero(folds != each), np.flatnonzero(folds == each)


def distinct_prompts(prompts: Sequence[str], labels: Index, categories: int) -> Index:
    """Distinct prompts per category, counted where each came first: shape (categories,)."""
    first: dict[str, int] = {}
    for row, prompt in enumerate(prompts):
        first.setdefault(prompt.strip(), row)
    counted: Index = np.bincount(labels[list(first.values())], minlength=categories)
    return counted
