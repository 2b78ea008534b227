"""A new expert for a fitted composition: its row of utilities, with stage 1 left as it is.

The row has a prior that the composition itself supplies: experts of like size (and, when they can be
compared, of like description or like answers) predict it, and how well they would have predicted each
other says how wide the prior is. Scored prompts then update it, as one Gaussian over all categories:

    row = peers + overall shift + a shift for each category,    score = row[category] + noise

so that ten scores in one category also say something of the others. Where the other experts' scores on
the same prompts are known, how hard each prompt was is taken out of the noise first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from routers.composition import Composition, ExpertCard
from routers.request import Matrix, Vector

SMALLEST_B = 0.01
OVERALL_SPREAD, CATEGORY_SPREAD = (0.05, 0.25), (0.03, 0.15)
"""The least and, for want of anything better, the assumed standard deviation of the two shifts."""
AFFINITY_WEIGHT = 0.5
"""How far, in standard deviations of the category shift, a description moves a category's utility."""
DESCRIPTION_SHARPNESS = 4.0
AGREEMENT, AGREEMENT_PROMPTS = 10.0, 50
"""How much peers gain who score alike on the same prompts: gently, since single scores are mostly luck
(with a likelihood's own weight, rows from fewer than 50 prompts get worse, not better)."""
LEAST_ERROR_UNSCORED = 0.15
"""Standard error of a row that rests on no score at all, at the least."""
LEAST_NOISE = 0.02
"""Variance of one score about its category's mean, at the least."""
ASSUMED_NOISE = 0.2

_Array = npt.NDArray[np.float64]


class JoinError(Exception):
    """The expert cannot join; the message says why."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What is known of the newcomer's answers. `categories` (prompts, categories): rows of probabilities,
    or of a single one; `scores` (prompts,) in 0..1; `others` (prompts, experts) in the composition's
    order, NaN where unknown."""

    categories: Matrix
    scores: Vector
    others: Matrix


@dataclass(frozen=True, slots=True)
class Likeness:
    """What a description says: cosines of its embedding to each category (categories,) and to each
    expert's description (experts,; NaN where there is none)."""

    categories: Vector
    experts: Vector


@dataclass(frozen=True, slots=True)
class Row:
    """`utilities`, `errors` and `counts` by category; `peers` are the weights of the prior's experts."""

    utilities: Vector
    errors: Vector
    counts: Vector
    peers: Mapping[str, float]


def estimate_row(
    experts: Sequence[ExpertCard],
    utilities: Matrix,
    card: ExpertCard,
    scored: Scored | None = None,
    likeness: Likeness | None = None,
) -> Row:
    """The row of `card` beside `utilities` (categories, experts) of `experts`.

    Without scores it rests on its size and `likeness`, and its errors are wide.
    """
    table = utilities.astype(np.float64)
    sizes = np.asarray([_log_size(each) for each in experts])
    weights = _peers(sizes, _log_size(card), likeness)
    covariance, by_category = _spread(table, sizes)
    noise, hardness = ASSUMED_NOISE, np.zeros(0)
    if scored is not None and len(scored.scores):
        weights = _agreeing(weights, scored)
        noise, hardness = _noise(table, scored, weights)
    prior = table @ weights
    if likeness is not None:
        prior = prior + AFFINITY_WEIGHT * by_category * _standardised(likeness.categories)
    counts = np.zeros(len(table))
    if scored is not None and len(scored.scores):
        design = scored.categories.astype(np.float64)
        surprise = scored.scores.astype(np.float64) - hardness - design @ prior
        # Sums by category are all the update needs, so many prompts cost no more than few.
        precision = design.T @ design / noise
        inner = np.eye(len(table)) + precision @ covariance
        prior = prior + covariance @ np.linalg.solve(inner, design.T @ surprise / noise)
        covariance = covariance @ np.linalg.inv(inner)
        counts = design.sum(axis=0)
    errors = np.sqrt(np.maximum(np.diag(covariance), 0))
    if not counts.any():
        errors = np.maximum(errors, LEAST_ERROR_UNSCORED)
    return Row(
        np.clip(prior, 0, 1).astype(np.float32),
        errors.astype(np.float32),
        counts.astype(np.float32),
        {each.name: round(float(weight), 3) for each, weight in zip(experts, weights, strict=True)},
    )


def join(composition: Composition, card: ExpertCard, row: Row, source: Mapping[str, Any]) -> Composition:
    """`composition` with `card` as its last expert; `source` tells the manifest where the row is from.

    What a request itself corrects stays with the experts it was fitted for: the newcomer's is zero.
    Raises JoinError when the name is taken or the base is not there.
    """
    if card.name in composition.expert_names:
        raise JoinError(f"the composition has an expert {card.name!r} already")
    entry = {
        "expert": card.name,
        **source,
        "scores": round(float(row.counts.sum())),
        "peers": dict(row.peers),
    }
    overall = np.float32(_traffic(composition) @ row.utilities)
    joined = [*composition.manifest.get("joined", ()), entry]
    return replace(
        composition,
        digest="",
        experts=(*composition.experts, card),
        utilities=_beside(composition.utilities, row.utilities),
        errors=_beside(composition.errors, row.errors),
        counts=_beside(composition.counts, row.counts),
        global_utilities=np.append(composition.global_utilities, overall),
        manifest={**composition.manifest, "joined": joined},
    )


def _log_size(card: ExpertCard) -> float:
    return float(np.log(max(card.active_params_b, SMALLEST_B)))


def _peers(sizes: _Array, size: float, likeness: Likeness | None) -> _Array:
    """Weights that sum to one: half as much for twice the size, more for a like description."""
    strength = -np.abs(sizes - size)
    if likeness is not None:
        known = ~np.isnan(likeness.experts)
        if known.any():
            near = np.where(known, likeness.experts, likeness.experts[known].mean())
            strength = strength + DESCRIPTION_SHARPNESS * near
    return _softmax(strength)


def _agreeing(weights: _Array, scored: Scored) -> _Array:
    """The peers who score alike on the same prompts count more."""
    gaps = (scored.others - scored.scores[:, None]).astype(np.float64) ** 2
    common = (~np.isnan(gaps)).sum(axis=0)
    if not common.any():
        return weights
    distance = np.nansum(gaps, axis=0) / np.maximum(common, 1)
    distance = np.where(common > 0, distance, distance[common > 0].mean())
    trust = common / (common + AGREEMENT_PROMPTS)
    return _softmax(np.log(np.maximum(weights, 1e-12)) - AGREEMENT * trust * distance)


def _spread(table: _Array, sizes: _Array) -> tuple[_Array, float]:
    """Covariance between the categories of what a row differs from its peers, and the deviation of the
    category's own shift: from what is left of each expert when the others of like size predict it."""
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
    # Half as the experts themselves vary together, half as if all categories were alike.
    alike = overall**2 + by_category**2 * np.eye(len(table))
    return (left @ left.T / len(sizes) + alike) / 2, by_category


def _noise(table: _Array, scored: Scored, weights: _Array) -> tuple[float, _Array]:
    """Variance of a score about its category's utility once the prompt's hardness is known, and that
    hardness, (prompts,): by how much the peers missed their own utilities on it."""
    expected = scored.categories.astype(np.float64) @ table
    missed = scored.others.astype(np.float64) - expected
    seen = ~np.isnan(missed)
    filled = np.where(seen, missed, 0.0)
    mass = seen @ weights
    shared = np.where(mass > 0, filled @ weights / np.maximum(mass, 1e-12), 0.0)
    # How much of one expert's miss the others foretell, from the experts themselves.
    foretold, own = [np.zeros(0)], [np.zeros(0)]
    for column in range(len(weights)):
        rest = weights.copy()
        rest[column] = 0
        both = seen[:, column] & ((seen @ rest) > 0)
        foretold.append((filled @ rest)[both] / (seen @ rest)[both])
        own.append(filled[both, column])
    x, y = np.concatenate(foretold), np.concatenate(own)
    share = float(np.clip((x @ y + 1.0) / (x @ x + 2.0), 0, 1))
    if not len(x):
        return ASSUMED_NOISE, np.zeros(len(shared))
    # Some ten scores' worth of what is usual, so that a handful of alike ones are not taken for certain.
    variance = float((((y - share * x) ** 2).sum() + 10 * ASSUMED_NOISE / 2) / (len(y) + 10))
    return max(variance, LEAST_NOISE), share * shared


def _traffic(composition: Composition) -> _Array:
    """The share of each category among the scored prompts; equal shares when none is scored."""
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
