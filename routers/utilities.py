"""Expected scores of experts by category, by empirical-Bayes shrinkage.

score = expert + category + interaction + noise. The main effects are least squares; interaction and
category effect are shrunk to zero by n/(n + k), k = noise variance / effect variance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from routers.composition import ExpertCard
from routers.request import Matrix, Vector

Sums = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Utilities:
    """`by_category`, `errors` (standard errors) and `counts`: (categories, experts); `overall` (experts,)."""

    by_category: Matrix
    errors: Matrix
    counts: Matrix
    overall: Vector
    shrinkage: float
    """k: a cell with k scores is shrunk by half."""


def cell_sums(scores: Matrix, labels: npt.NDArray[np.int64], categories: int) -> tuple[Sums, Sums, Sums]:
    """Counts, sums and sums of squares of `scores` (prompts, experts; NaN where unscored) by category, each
    (categories, experts)."""
    seen = ~np.isnan(scores)
    filled = np.where(seen, scores, 0).astype(np.float64)
    shape = (categories, scores.shape[1])
    counts, totals, squares = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    np.add.at(counts, labels, seen)
    np.add.at(totals, labels, filled)
    np.add.at(squares, labels, filled**2)
    return counts, totals, squares


def estimate_utilities(scores: Matrix, labels: npt.NDArray[np.int64], categories: int) -> Utilities:
    """Estimate from `scores` (prompts, experts; NaN where unscored) and `labels` (prompts,).

    Raises ValueError when an expert has no score at all.
    """
    seen = ~np.isnan(scores)
    if not seen.any(axis=0).all():
        raise ValueError("every expert needs at least one score")
    counts, totals, squares = cell_sums(scores, labels, categories)
    means = totals / np.maximum(counts, 1)
    expert_effect, category_effect = _main_effects(means, counts)
    freedom = max(counts.sum() - (counts > 0).sum(), 1)
    noise = max(float((squares - counts * means**2).sum() / freedom), 1e-6)
    category_effect = _shrunk(category_effect, counts.max(axis=1), noise)
    additive = category_effect[:, None] + expert_effect[None, :]
    # Method of moments: E[(mean - additive)²] = interaction + noise/n, cells weighted by their n.
    between = _noise_between_experts(scores, labels, categories, noise)
    spread = counts * ((means - additive) ** 2 - between / np.maximum(counts, 1))
    interaction = max(float(spread.sum() / max(counts.sum(), 1)), 1e-5)
    k = between / interaction
    trust = counts / (counts + k)
    by_category = np.clip(additive + trust * (means - additive), 0, 1)
    errors = np.sqrt(noise / (counts + k))
    overall = np.clip(np.nansum(scores, axis=0, dtype=np.float64) / seen.sum(axis=0), 0, 1)
    return Utilities(
        by_category.astype(np.float32),
        errors.astype(np.float32),
        counts.astype(np.float32),
        overall.astype(np.float32),
        k,
    )


def prior_utilities(experts: Sequence[ExpertCard], categories: int) -> Utilities:
    """Utilities without any score: 0.5 + 0.15·log10(active parameters / 7 B) in every category."""
    sizes = np.asarray([card.active_params_b for card in experts], dtype=np.float64)
    overall = np.clip(0.5 + 0.15 * np.log10(np.maximum(sizes, 1e-3) / 7), 0.05, 0.95)
    shape = (categories, len(experts))
    return Utilities(
        np.broadcast_to(overall, shape).astype(np.float32),
        np.full(shape, 0.25, dtype=np.float32),
        np.zeros(shape, dtype=np.float32),
        overall.astype(np.float32),
        float("inf"),
    )


def _main_effects(
    means: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Weighted least squares of cell means on expert + category, by alternating means."""
    expert = np.zeros(means.shape[1])
    category = np.zeros(means.shape[0])
    per_expert, per_category = counts.sum(axis=0), counts.sum(axis=1)
    grand = float((counts * means).sum() / counts.sum())
    for _ in range(50):
        expert = (counts * (means - category[:, None])).sum(axis=0) / per_expert
        level = (counts * (means - expert[None, :])).sum(axis=1) / np.maximum(per_category, 1)
        category = np.where(per_category > 0, level, 0.0)
        # Categories without scores get the average; centring identifies the two effects.
        category -= float((per_category * category).sum() / per_category.sum())
    return expert + grand - float((per_expert * expert).sum() / per_expert.sum()), category


def _noise_between_experts(
    scores: Matrix, labels: npt.NDArray[np.int64], categories: int, noise: float
) -> float:
    """Noise variance of a score less its prompt's mean, which removes the prompt's difficulty.

    Needs prompts that all experts answered; returns `noise`, the variance of single scores, if fewer than
    80 % are.
    """
    complete = ~np.isnan(scores).any(axis=1)
    experts = scores.shape[1]
    if experts < 2 or complete.mean() < 0.8:
        return noise
    centred = scores[complete].astype(np.float64)
    centred -= centred.mean(axis=1, keepdims=True)
    rows = labels[complete]
    counts = np.bincount(rows, minlength=categories)
    totals = np.zeros((categories, experts))
    np.add.at(totals, rows, centred)
    within = float((centred**2).sum() - (totals**2 / np.maximum(counts, 1)[:, None]).sum())
    freedom = max(int(counts.sum()) - int((counts > 0).sum()), 1) * (int(experts) - 1)
    return min(max(within / float(freedom), 1e-6), noise)


def _shrunk(
    effects: npt.NDArray[np.float64], prompts: npt.NDArray[np.float64], noise: float
) -> npt.NDArray[np.float64]:
    """Category effects times n/(n + noise/variance), n the category's `prompts`.

    Prompts count and not scores, since all experts answer the same ones; otherwise one easy prompt lifts
    all experts of its category to the upper limit of 1, where they tie.
    """
    weight = prompts / prompts.sum()
    excess = effects**2 - noise / np.maximum(prompts, 1)
    variance = max(float((weight * excess).sum()), 1e-5)
    shrunk: npt.NDArray[np.float64] = effects * prompts / (prompts + noise / variance)
    return shrunk
