"""Expected scores of prompts by region from an incomplete table of scores."""

import numpy as np
from numpy.typing import NDArray

from prompts.mixture.regions import Indices

Scores = NDArray[np.float64]

MIN_PSEUDO_COUNT, MAX_PSEUDO_COUNT = 1.0, 64.0
"""Bounds of the estimated pseudo-count, since few regions give a noisy estimate."""
SWEEPS = 50
"""Backfitting iterations."""


def estimates(scores: Scores, regions: Indices, count: int, shrinkage: float | None, prior: float) -> Scores:
    """The expected score of each prompt in each region, (prompts, count).

    `scores` (prompts, n), NaN where not asked; `regions` (n,) of the samples, 0..count-1. Model: sample
    effect + prompt effect + prompt-by-region interaction, by backfitting; the interaction is shrunk to zero
    with the pseudo-count `shrinkage`, by default the estimated `pseudo_count`, or `prior` if that is None.
    """
    asked = np.isfinite(scores)
    sample_effects, prompt_effects = _additive(scores, asked)
    residuals = np.where(asked, scores - sample_effects - prompt_effects[:, None], 0.0)
    sums, sizes = (_by_region(each, regions, count) for each in (residuals, asked.astype(float)))
    if shrinkage is None:
        known = pseudo_count(residuals, asked, regions, count)
        shrinkage = prior if known is None else known
    weights = sizes + shrinkage
    interaction = np.divide(sums, weights, out=np.zeros_like(sums), where=weights > 0)
    seen = asked.any(axis=0)
    overall = float(sample_effects[seen].mean()) if seen.any() else 0.0
    own = [sample_effects[seen & (regions == each)] for each in range(count)]
    region_means = np.asarray([each.mean() if len(each) else overall for each in own])
    return np.asarray(region_means[None, :] + prompt_effects[:, None] + interaction)


def pseudo_count(residuals: Scores, asked: NDArray[np.bool_], regions: Indices, count: int) -> float | None:
    """Variance within regions over variance between regions, by the method of moments (one-way ANOVA) on the
    `residuals` (prompts, n) of the `asked` cells. None without degrees of freedom.

    Exact for a complete table; with missing cells it is up to twice too high, i.e. shrinks more.
    """
    masked = np.where(asked, residuals, 0.0)
    sums, sizes = (_by_region(each, regions, count) for each in (masked, asked.astype(float)))
    cells = sizes > 0
    total, groups, rows = float(sizes.sum()), int(cells.sum()), int(cells.any(axis=1).sum())
    columns, held = int(asked.any(axis=0).sum()), int(cells.any(axis=0).sum())
    # Degrees of freedom left after fitting sample and prompt effects.
    free, free_between = total - groups - columns + held, groups - rows - held + 1
    if free <= 0 or free_between <= 0:
        return None
    means = np.divide(sums, sizes, out=np.zeros_like(sums), where=cells)
    spread = np.where(asked, residuals - means[:, regions], 0.0)
    within = float((spread**2).sum()) / free
    between = float((sizes * means**2).sum()) / free_between
    own = sizes.sum(axis=1, keepdims=True)
    squares = float(np.divide(sizes**2, own, out=np.zeros_like(sizes), where=own > 0).sum())
    variance_between = (between - within) / ((total - squares) / (groups - rows))
    if variance_between <= 0:
        return MAX_PSEUDO_COUNT
    return float(np.clip(within / variance_between, MIN_PSEUDO_COUNT, MAX_PSEUDO_COUNT))


def _additive(scores: Scores, asked: NDArray[np.bool_]) -> tuple[Scores, Scores]:
    """Sample effects (n,) and prompt effects (prompts,) of mean zero."""
    values = np.where(asked, scores, 0.0)
    by_row, by_column = (np.maximum(asked.sum(axis=axis), 1) for axis in (1, 0))
    effects = np.zeros(len(scores))
    for _ in range(SWEEPS):
        sample_effects = (values - np.where(asked, effects[:, None], 0.0)).sum(axis=0) / by_column
        effects = (values - np.where(asked, sample_effects, 0.0)).sum(axis=1) / by_row
        effects -= effects.mean()
    return (values - np.where(asked, effects[:, None], 0.0)).sum(axis=0) / by_column, effects


def _by_region(values: Scores, regions: Indices, count: int) -> Scores:
    """Sums over each region's samples, (prompts, count)."""
    members = np.eye(count)[regions] if len(regions) else np.zeros((0, count))
    return np.asarray(values @ members)
