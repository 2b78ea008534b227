"""Expected scores of experts by category, by empirical-Bayes shrinkage.

score = expert + category + interaction + noise. The main effects are least squares; interaction and
category effect are shrunk to zero by n/(n + k), k = noise variance / effect variance.

An arm (an expert over another's weights) is estimated by its differences from that base on the prompts that
both answered: they share what makes a prompt hard, and an arm is often scored in its own categories alone,
which say little of the others. A category's mean difference is shrunk, by the noise of that very mean, to the
mean difference of all arms and categories, or to nought where that is above it: of many arms that are
worse on average, the best of a category is partly the luckiest.
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


UNTRIED = 0.15
"""An arm that nobody scored in a category is taken to be so much worse there than its base."""
LEAST_SPREAD = 0.05**2
"""Least variance of an arm's differences from its base between categories."""
NOISE_PRIOR = 20
"""Prompts that the common variance of differences counts for beside a category's own."""


def bases_of(experts: Sequence[ExpertCard]) -> tuple[int | None, ...]:
    """For each expert the column of its base, None for those without one among `experts`."""
    column = {card.name: place for place, card in enumerate(experts)}
    return tuple(column.get(card.base) if card.base else None for card in experts)


def estimate_with_arms(
    scores: Matrix, labels: npt.NDArray[np.int64], categories: int, bases: Sequence[int | None]
) -> Utilities:
    """As `estimate_utilities`, with arms (columns with a base) estimated by their differences from it.

    Raises ValueError when an expert has no score at all.
    """
    own = [column for column, base in enumerate(bases) if base is None]
    arms = [column for column, base in enumerate(bases) if base is not None]
    if not arms:
        return estimate_utilities(scores, labels, categories)
    if np.isnan(scores).all(axis=0).any():
        raise ValueError("every expert needs at least one score")
    found = estimate_utilities(scores[:, own], labels, categories)
    shape = (categories, scores.shape[1])
    by_category, errors, counts = (np.zeros(shape, dtype=np.float64) for _ in range(3))
    overall = np.zeros(scores.shape[1])
    for table, part in ((by_category, found.by_category), (errors, found.errors), (counts, found.counts)):
        table[:, own] = part
    overall[own] = found.overall
    shares = np.bincount(labels, minlength=categories) / len(labels)
    paired = {
        arm: _differences((scores[:, arm] - scores[:, bases[arm] or 0]), labels, categories) for arm in arms
    }
    prior = _prior_of_differences(list(paired.values()))
    for arm, seen in paired.items():
        base = bases[arm] or 0
        noise = prior.noise_of(seen) / np.maximum(seen.counts, 1)
        trust = np.where(seen.counts > 0, prior.spread / (prior.spread + noise), 0.0)
        delta = np.where(seen.counts > 0, prior.mean + trust * (seen.means - prior.mean), -UNTRIED)
        by_category[:, arm] = np.clip(by_category[:, base] + delta, 0, 1)
        errors[:, arm] = np.sqrt(errors[:, base] ** 2 + (1 - trust) * prior.spread)
        counts[:, arm] = seen.counts
        overall[arm] = np.clip(overall[base] + float(shares @ delta), 0, 1)
    return Utilities(
        by_category.astype(np.float32),
        errors.astype(np.float32),
        counts.astype(np.float32),
        overall.astype(np.float32),
        found.shrinkage,
    )


@dataclass(frozen=True, slots=True)
class _Differences:
    """Of one arm from its base, all (categories,); `squares`: sums of squares about the mean."""

    counts: npt.NDArray[np.float64]
    means: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _DifferencePrior:
    """What differences of arms are like: mean and variance (`spread`) of categories, and the variance
    (`noise`) of a prompt's about its category's."""

    mean: float
    spread: float
    noise: float

    def noise_of(self, seen: _Differences) -> npt.NDArray[np.float64]:
        """Variance of a prompt's difference by category, (categories,): its own, with the weight of
        `NOISE_PRIOR` prompts on that of all."""
        known = np.maximum(seen.counts - 1, 0) + NOISE_PRIOR
        variances: npt.NDArray[np.float64] = (seen.squares + NOISE_PRIOR * self.noise) / known
        return variances


def _differences(column: Vector, labels: npt.NDArray[np.int64], categories: int) -> _Differences:
    counts, totals, squares = (each[:, 0] for each in cell_sums(column[:, None], labels, categories))
    means = totals / np.maximum(counts, 1)
    return _Differences(counts, means, np.maximum(squares - counts * means**2, 0))


def _prior_of_differences(arms: Sequence[_Differences]) -> _DifferencePrior:
    """By moments, categories weighted by their prompts; the mean is at most nought, since those who score an
    arm in some categories alone choose the ones in which they expect it to be better."""
    counts, means, squares = (
        np.concatenate([getattr(arm, name) for arm in arms]) for name in ("counts", "means", "squares")
    )
    freedom = np.maximum(counts - 1, 0).sum()
    noise = max(float(squares.sum() / freedom) if freedom else 0.25, 1e-4)
    total = max(float(counts.sum()), 1.0)
    mean = min(float(counts @ means) / total, 0.0)
    spread = float(counts @ ((means - mean) ** 2 - noise / np.maximum(counts, 1))) / total
    return _DifferencePrior(mean, max(spread, LEAST_SPREAD), noise)


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
