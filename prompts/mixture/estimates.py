"""How good each prompt is in each region, from some of the trials: pure statistics, no models."""

import numpy as np
from numpy.typing import NDArray

from prompts.mixture.regions import Indices

Scores = NDArray[np.float64]

LEAST_STRENGTH, MOST_STRENGTH = 1.0, 64.0
"""Bounds of an estimated strength, in samples: few regions say little of how they differ."""
SWEEPS = 50
"""Of backfitting, which settles in a few."""


def estimates(scores: Scores, regions: Indices, count: int, shrinkage: float | None, prior: float) -> Scores:
    """The expected score of each prompt in each region, (prompts, count).

    `scores` (prompts, n) are those on n samples, NaN where a prompt was not asked; the samples are of
    `regions` (n,), of which there are `count`. Additive model, fitted by backfitting: how easy a sample is,
    how good a prompt is everywhere, and how much better or worse it is in a region. The last is drawn to
    nought as if `shrinkage` more samples had said so; by default as many as `strength` finds, or `prior`
    where it cannot tell. So prompts that were asked easy samples only are not taken for better ones.
    """
    asked = np.isfinite(scores)
    easiness, effects = _additive(scores, asked)
    rest = np.where(asked, scores - easiness - effects[:, None], 0.0)
    sums, sizes = (_by_region(each, regions, count) for each in (rest, asked.astype(float)))
    drawn = shrinkage
    if drawn is None:
        known = strength(rest, asked, regions, count)
        drawn = prior if known is None else known
    weights = sizes + drawn
    special = np.divide(sums, weights, out=np.zeros_like(sums), where=weights > 0)
    met = asked.any(axis=0)
    everywhere = float(easiness[met].mean()) if met.any() else 0.0
    own = [easiness[met & (regions == each)] for each in range(count)]
    usual = np.asarray([each.mean() if len(each) else everywhere for each in own])
    return np.asarray(usual[None, :] + effects[:, None] + special)


def strength(rest: Scores, asked: NDArray[np.bool_], regions: Indices, count: int) -> float | None:
    """How many samples the estimate over all regions is worth beside a region's own. None when one cannot
    tell: one region, or none with two samples.

    `rest` (prompts, n) is what `asked` scores leave when easiness and prompts' effects are taken off.
    Empirical Bayes by moments (one-way analysis of variance): what the samples of one region vary by over
    what regions vary by. Exact where all prompts were asked all samples; the fewer were, the more of what
    regions differ by is taken for easiness, and the higher, up to twice, it errs: on the side of caution.
    """
    sums, sizes = (
        _by_region(each, regions, count) for each in (np.where(asked, rest, 0.0), asked.astype(float))
    )
    cells = sizes > 0
    total, groups, rows = float(sizes.sum()), int(cells.sum()), int(cells.any(axis=1).sum())
    columns, held = int(asked.any(axis=0).sum()), int(cells.any(axis=0).sum())
    # Each sample's easiness and each prompt's effect were fitted as well: what is left free within regions
    # and between them.
    free, free_between = total - groups - columns + held, groups - rows - held + 1
    if free <= 0 or free_between <= 0:
        return None
    means = np.divide(sums, sizes, out=np.zeros_like(sums), where=cells)
    spread = np.where(asked, rest - means[:, regions], 0.0)
    within = float((spread**2).sum()) / free
    between = float((sizes * means**2).sum()) / free_between
    own = sizes.sum(axis=1, keepdims=True)
    usual_size = (total - float(np.divide(sizes**2, own, out=np.zeros_like(sizes), where=own > 0).sum())) / (
        groups - rows
    )
    differ = (between - within) / usual_size
    if differ <= 0:
        return MOST_STRENGTH
    return float(np.clip(within / differ, LEAST_STRENGTH, MOST_STRENGTH))


def _additive(scores: Scores, asked: NDArray[np.bool_]) -> tuple[Scores, Scores]:
    """Easiness of samples (n,) and effects of prompts (prompts,), which average to nought over prompts."""
    values = np.where(asked, scores, 0.0)
    by_row, by_column = (np.maximum(asked.sum(axis=axis), 1) for axis in (1, 0))
    effects = np.zeros(len(scores))
    easiness = np.zeros(scores.shape[1])
    for _ in range(SWEEPS):
        easiness = (values - np.where(asked, effects[:, None], 0.0)).sum(axis=0) / by_column
        effects = (values - np.where(asked, easiness, 0.0)).sum(axis=1) / by_row
        effects -= effects.mean()
    easiness = (values - np.where(asked, effects[:, None], 0.0)).sum(axis=0) / by_column
    return easiness, effects


def _by_region(values: Scores, regions: Indices, count: int) -> Scores:
    """Sums over each region's samples, (prompts, count)."""
    members = np.eye(count)[regions] if len(regions) else np.zeros((0, count))
    return np.asarray(values @ members)
