"""Utilities of a new expert in a fitted composition, without refitting stage 1.

A Gaussian model over categories: row = weighted mean of the peers + overall shift + shift per category,
score = row[category] + noise. Peers are weighted by similarity of size, description and scores; the prior
covariance comes from how well the existing experts predict each other (leave-one-out). Where other experts'
scores on the same prompts are known, the prompts' difficulty is removed from the noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from routers.composition import Composition, ExpertCard
from routers.request import Matrix, Vector
from routers.strategy_choice import CHOICE

SMALLEST_B = 0.01
OVERALL_SPREAD, CATEGORY_SPREAD = (0.05, 0.25), (0.03, 0.15)
"""Standard deviations of the two shifts: the minimum, and the default with fewer than three experts."""
AFFINITY_WEIGHT = 0.5
"""Prior shift of a category per standard deviation of its similarity to the description, in units of the
category shift's standard deviation."""
DESCRIPTION_SHARPNESS = 4.0
AGREEMENT, AGREEMENT_PROMPTS = 10.0, 50
"""Inverse temperature of the squared score difference in the peers' weights, and the prompts at which it
counts half. The full likelihood made rows of fewer than 50 prompts worse."""
LEAST_ERROR_UNSCORED = 0.15
"""Minimum standard error of a row without scores."""
LEAST_NOISE = 0.02
"""Minimum variance of one score about its category's mean."""
ASSUMED_NOISE = 0.2

_Array = npt.NDArray[np.float64]


class AddExpertError(Exception):
    """The expert cannot be added; the message says why."""


@dataclass(frozen=True, slots=True)
class ScoredPrompts:
    """Scores of the new expert: `categories` (prompts, categories) probabilities; `scores` (prompts,) 0..1;
    `others` (prompts, experts) scores of the composition's experts, NaN where unknown."""

    categories: Matrix
    scores: Vector
    others: Matrix


@dataclass(frozen=True, slots=True)
class DescriptionSimilarity:
    """Cosines of the description's embedding to each category (categories,) and to each expert's
    description (experts,; NaN where there is none)."""

    categories: Vector
    experts: Vector


@dataclass(frozen=True, slots=True)
class UtilityRow:
    """`utilities`, `errors` and `counts` by category; `peers`: weights of the experts in the prior mean."""

    utilities: Vector
    errors: Vector
    counts: Vector
    peers: Mapping[str, float]


def estimate_row(
    experts: Sequence[ExpertCard],
    utilities: Matrix,
    card: ExpertCard,
    scored: ScoredPrompts | None = None,
    similarity: DescriptionSimilarity | None = None,
) -> UtilityRow:
    """The row of `card`, given `utilities` (categories, experts) of `experts`."""
    table = utilities.astype(np.float64)
    sizes = np.asarray([_log_size(each) for each in experts])
    weights = _peers(sizes, _log_size(card), similarity)
    covariance, by_category = _spread(table, sizes)
    noise, difficulty = ASSUMED_NOISE, np.zeros(0)
    if scored is not None and len(scored.scores):
        weights = _weighted_by_agreement(weights, scored)
        noise, difficulty = _noise(table, scored, weights)
    prior = table @ weights
    if similarity is not None:
        prior = prior + AFFINITY_WEIGHT * by_category * _standardised(similarity.categories)
    counts = np.zeros(len(table))
    if scored is not None and len(scored.scores):
        design = scored.categories.astype(np.float64)
        surprise = scored.scores.astype(np.float64) - difficulty - design @ prior
        precision = design.T @ design / noise
        inner = np.eye(len(table)) + precision @ covariance
        prior = prior + covariance @ np.linalg.solve(inner, design.T @ surprise / noise)
        covariance = covariance @ np.linalg.inv(inner)
        counts = design.sum(axis=0)
    errors = np.sqrt(np.maximum(np.diag(covariance), 0))
    if not counts.any():
        errors = np.maximum(errors, LEAST_ERROR_UNSCORED)
    return UtilityRow(
        np.clip(prior, 0, 1).astype(np.float32),
        errors.astype(np.float32),
        counts.astype(np.float32),
        {each.name: round(float(weight), 3) for each, weight in zip(experts, weights, strict=True)},
    )


def extend_composition(
    composition: Composition, card: ExpertCard, row: UtilityRow, source: Mapping[str, Any]
) -> Composition:
    """`composition` with `card` as its last expert; `source` goes into the manifest.

    The per-request correction of the new expert is zero. Fitted strategies are left out: they were fitted on
    the other experts. Raises AddExpertError when the name is taken.
    """
    if card.name in composition.expert_names:
        raise AddExpertError(f"the composition has an expert {card.name!r} already")
    entry = {
        "expert": card.name,
        **source,
        "scores": round(float(row.counts.sum())),
        "peers": dict(row.peers),
    }
    overall = np.float32(_traffic(composition) @ row.utilities)
    joined = [*composition.manifest.get("joined", ()), entry]
    older = {key: value for key, value in composition.manifest.items() if key != CHOICE}
    return replace(
        composition,
        digest="",
        experts=(*composition.experts, card),
        utilities=_beside(composition.utilities, row.utilities),
        errors=_beside(composition.errors, row.errors),
        counts=_beside(composition.counts, row.counts),
        global_utilities=np.append(composition.global_utilities, overall),
        tokens=composition.tokens and composition.tokens.with_unknown(1),
        policy=replace(composition.policy, strategies=_unfitted(composition)),
        strategies=None,
        manifest={**older, "joined": joined},
    )


def _unfitted(composition: Composition) -> dict[str, str]:
    """The policy's strategies by category without the fitted ones."""
    fitted = () if composition.strategies is None else composition.strategies.names
    return {category: name for category, name in composition.policy.strategies.items() if name not in fitted}


def _log_size(card: ExpertCard) -> float:
    return float(np.log(max(card.active_params_b, SMALLEST_B)))


def _peers(sizes: _Array, size: float, similarity: DescriptionSimilarity | None) -> _Array:
    """Softmax of -|log size difference| + DESCRIPTION_SHARPNESS · cosine of the descriptions, (experts,)."""
    strength = -np.abs(sizes - size)
    if similarity is not None:
        known = ~np.isnan(similarity.experts)
        if known.any():
            near = np.where(known, similarity.experts, similarity.experts[known].mean())
            strength = strength + DESCRIPTION_SHARPNESS * near
    return _softmax(strength)


def _weighted_by_agreement(weights: _Array, scored: ScoredPrompts) -> _Array:
    """`weights` times exp(-AGREEMENT · mean squared score difference on the common prompts)."""
    gaps = (scored.others - scored.scores[:, None]).astype(np.float64) ** 2
    common = (~np.isnan(gaps)).sum(axis=0)
    if not common.any():
        return weights
    distance = np.nansum(gaps, axis=0) / np.maximum(common, 1)
    distance = np.where(common > 0, distance, distance[common > 0].mean())
    trust = common / (common + AGREEMENT_PROMPTS)
    return _softmax(np.log(np.maximum(weights, 1e-12)) - AGREEMENT * trust * distance)


def _spread(table: _Array, sizes: _Array) -> tuple[_Array, float]:
    """Prior covariance (categories, categories) and standard deviation of the category shift, from the
    leave-one-out residuals of the existing experts."""
    if len(sizes) < 3:
        overall, by_category = OVERALL_SPREAD[1], CATEGORY_SPREAD[1]
        return overall**2 + by_category**2 * np.eye(len(table)), by_category
    left = np.empty_like(table)
    for column, size in enumerate(sizes):
        strength = -np.abs(sizes - size)
        strength[column] = -np.inf
        left[:, column] = table[:, column] - table @ _softmax(strength)
    shift = left.mean(axis=0)
    overall = max(float(np.sqrt((shift**2).mean())), OVERALL_SPREAD[0])
    by_category = max(float(np.sqrt(((left - shift) ** 2).mean())), CATEGORY_SPREAD[0])
    # The empirical covariance, shrunk by half to the model with exchangeable categories.
    alike = overall**2 + by_category**2 * np.eye(len(table))
    return (left @ left.T / len(sizes) + alike) / 2, by_category


def _noise(table: _Array, scored: ScoredPrompts, weights: _Array) -> tuple[float, _Array]:
    """Variance of a score about its category's utility given the prompt's difficulty, and that difficulty
    (prompts,): the peers' mean residual, scaled by how well it predicts a held-out peer's residual."""
    expected = scored.categories.astype(np.float64) @ table
    residual = scored.others.astype(np.float64) - expected
    seen = ~np.isnan(residual)
    filled = np.where(seen, residual, 0.0)
    mass = seen @ weights
    shared = np.where(mass > 0, filled @ weights / np.maximum(mass, 1e-12), 0.0)
    # Regress each expert's residual on the weighted mean of the others'.
    predicted, own = [np.zeros(0)], [np.zeros(0)]
    for column in range(len(weights)):
        rest = weights.copy()
        rest[column] = 0
        both = seen[:, column] & ((seen @ rest) > 0)
        predicted.append((filled @ rest)[both] / (seen @ rest)[both])
        own.append(filled[both, column])
    x, y = np.concatenate(predicted), np.concatenate(own)
    share = float(np.clip((x @ y + 1.0) / (x @ x + 2.0), 0, 1))
    if not len(x):
        return ASSUMED_NOISE, np.zeros(len(shared))
    # A prior worth ten scores.
    variance = float((((y - share * x) ** 2).sum() + 10 * ASSUMED_NOISE / 2) / (len(y) + 10))
    return max(variance, LEAST_NOISE), share * shared


def _traffic(composition: Composition) -> _Array:
    """Traffic shares of the categories, from the scored prompts; equal when none is scored."""
    prompts = composition.counts.max(axis=1).astype(np.float64)
    if not prompts.any():
        return np.full(len(prompts), 1 / len(prompts))
    return np.asarray(prompts / prompts.sum())


def _standardised(values: Vector) -> _Array:
    centred = values.astype(np.float64) - values.mean()
    spread = float(centred.std())
    return centred / spread if spread > 1e-9 else np.zeros(len(values))


def _softmax(strength: _Array) -> _Array:
    raised = np.exp(strength - strength.max())
    return np.asarray(raised / raised.sum())


def _beside(table: Matrix, column: Vector) -> Matrix:
    return np.concatenate([table, column[:, None].astype(np.float32)], axis=1)
