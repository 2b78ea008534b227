"""Which (category, expert) cells to score next: a greedy knowledge-gradient policy.

The value of a cell is the reduction of the map's expected regret by b more scores, per score, for the best b
(KG(*), Frazier & Powell 2010). Scores go to the best cell, whose variance is then updated, until the budget
is spent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from routers.composition import ExpertCard
from routers.request import Matrix, Vector
from routers.utilities import cell_sums, estimate_utilities

LOOKAHEAD = (1, 2, 4, 8, 16, 32, 64)
"""Candidates for b; one score alone seldom changes the map."""
ASSUMED_NOISE, ASSUMED_COUNT = 0.2, 10
"""Prior variance of a score within its cell, and the number of scores that the prior counts for."""
SPREAD = 0.1
"""Prior standard deviation of a cell about its fitted utility."""

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cells:
    """`values` (categories, experts): utility less costs, with `errors` (standard errors) and `counts`
    (scores); `available`: prompts that could still be scored; `weights` (categories,): traffic shares;
    `noise`: variance of one score about its cell's mean."""

    categories: tuple[str, ...]
    experts: tuple[str, ...]
    values: Matrix
    errors: Matrix
    counts: Matrix
    available: Matrix
    weights: Vector
    noise: float

    def for_new_prompts(self) -> "Cells":
        """The same estimates with an unlimited number of further prompts."""
        return replace(self, available=np.full_like(self.available, np.inf))


@dataclass(frozen=True, slots=True)
class CellPlan:
    """Score `prompts` more prompts of `category` with `expert`; `leads` if it is the category's best now."""

    category: str
    expert: str
    prompts: int
    scored: int
    value: float
    error: float
    leads: bool
    gap: float
    """Value less that of the best other expert."""


@dataclass(frozen=True, slots=True)
class ScoringPlan:
    """Cells by falling number of prompts; expected regret of the map now and with these scores."""

    cells: tuple[CellPlan, ...]
    judgments: int
    regret_now: float
    regret_after: float


def plan(cells: Cells, judgments: int, chunk: int = 1) -> ScoringPlan:
    """Allocate up to `judgments` scores, in steps of at least `chunk`; none to categories of one expert."""
    values = cells.values.astype(np.float64)
    variance = cells.errors.astype(np.float64) ** 2
    left = cells.available.astype(np.float64).copy()
    given = np.zeros(values.shape, dtype=np.int64)
    weights = cells.weights.astype(np.float64)
    remaining = judgments
    rates, steps = _worth(values, variance, left, cells.noise, weights)
    while remaining > 0:
        row, column = np.unravel_index(int(rates.argmax()), rates.shape)
        if not rates[row, column] > 0:
            break
        step = int(min(max(steps[row, column], chunk), remaining, left[row, column]))
        given[row, column] += step
        remaining -= step
        left[row, column] -= step
        variance[row, column] = _after(variance[row, column], step, cells.noise)
        part = slice(row, row + 1)
        rates[part], steps[part] = _worth(
            values[part], variance[part], left[part], cells.noise, weights[part]
        )
    return ScoringPlan(
        _planned(cells, given),
        int(given.sum()),
        expected_regret(cells.values, cells.errors, cells.weights),
        expected_regret(cells.values, np.sqrt(variance), cells.weights),
    )


def expected_regret(values: Matrix, errors: Matrix, weights: Vector, draws: int = 2_000) -> float:
    """Σ_c w_c E[max_e u - u_chosen] for independent normal utilities, by Monte Carlo with a fixed seed."""
    random = np.random.default_rng(0)
    noise = random.standard_normal((draws, *values.shape))
    drawn = values.astype(np.float64) + errors.astype(np.float64) * noise
    chosen = np.take_along_axis(drawn, values.argmax(axis=1)[None, :, None], axis=2)[..., 0]
    lost = (drawn.max(axis=2) - chosen).mean(axis=0)
    return float(weights.astype(np.float64) @ lost)


def score_variance(scores: Matrix, labels: npt.NDArray[np.int64], categories: int) -> float:
    """Within-cell variance of `scores` (prompts, experts; NaN where unscored), shrunk to ASSUMED_NOISE."""
    counts, totals, squares = cell_sums(scores, labels, categories)
    freedom = float(np.maximum(counts - 1, 0).sum())
    within = max(float((squares - totals**2 / np.maximum(counts, 1)).sum()), 0.0)
    return (within + ASSUMED_COUNT * ASSUMED_NOISE) / (freedom + ASSUMED_COUNT)


def cells_of(
    scores: Matrix,
    labels: npt.NDArray[np.int64],
    categories: Sequence[str],
    experts: Sequence[ExpertCard],
    *,
    costs: Matrix | None = None,
) -> Cells:
    """Cells from `scores` (prompts, experts; NaN where unscored) with categories `labels`.

    Each cell has a normal prior about its fitted utility with standard deviation SPREAD, since shrinkage
    removes differences that few scores cannot show but that planning has to consider. `costs`
    (categories, experts) are subtracted. Raises ValueError when an expert has no score.
    """
    fitted = estimate_utilities(scores, labels, len(categories))
    noise = score_variance(scores, labels, len(categories))
    counts, totals, _ = cell_sums(scores, labels, len(categories))
    precision = counts / noise + 1 / SPREAD**2
    values = (totals / noise + fitted.by_category / SPREAD**2) / precision
    if costs is not None:
        values = values - costs
    prompts = np.bincount(labels, minlength=len(categories)).astype(np.float32)
    available = prompts[:, None] - counts
    return Cells(
        tuple(categories),
        tuple(card.name for card in experts),
        values.astype(np.float32),
        (1 / np.sqrt(precision)).astype(np.float32),
        counts.astype(np.float32),
        available.astype(np.float32),
        prompts / prompts.sum(),
        noise,
    )


def _worth(
    values: _Array, variance: _Array, left: _Array, noise: float, weights: _Array
) -> tuple[_Array, npt.NDArray[np.int64]]:
    """Per cell, the best regret reduction per score over LOOKAHEAD, and the b that gives it."""
    if values.shape[1] < 2:
        return np.zeros(values.shape), np.ones(values.shape, dtype=np.int64)
    gap = np.abs(values - _best_other(values))
    best, steps = np.zeros(values.shape), np.ones(values.shape, dtype=np.int64)
    for step in LOOKAHEAD:
        possible = np.minimum(step, left)
        moves = np.sqrt(np.maximum(variance - _after(variance, possible, noise), 0))
        worth = np.where(moves > 0, moves * _unit_normal_loss(gap / np.maximum(moves, 1e-12)), 0)
        rate = weights[:, None] * worth / np.maximum(possible, 1)
        better = (rate > best) & (possible > 0)
        best = np.where(better, rate, best)
        steps = np.where(better, np.minimum(step, np.minimum(left, step)), steps).astype(np.int64)
    return best, steps


def _best_other(values: _Array) -> _Array:
    """Per cell, the best value among the other experts of its category."""
    order = np.sort(values, axis=1)
    first, second = order[:, -1:], order[:, -2:-1]
    leads = np.zeros(values.shape, dtype=bool)
    leads[np.arange(len(values)), values.argmax(axis=1)] = True
    return np.where(leads, second, first)


def _after(variance: "_Array | float", scores: "_Array | float", noise: float) -> "_Array":
    """Posterior variance of a mean after `scores` more scores."""
    return np.asarray(variance * noise / (noise + variance * scores))


def _unit_normal_loss(z: _Array) -> _Array:
    """φ(z) - z Φ(-z)."""
    from scipy.special import ndtr

    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return np.asarray(np.maximum(density - z * ndtr(-z), 0))


def _planned(cells: Cells, given: npt.NDArray[np.int64]) -> tuple[CellPlan, ...]:
    values = cells.values.astype(np.float64)
    gaps = values - _best_other(values) if values.shape[1] > 1 else np.zeros(values.shape)
    leaders = values.argmax(axis=1)
    found = [
        CellPlan(
            category=cells.categories[row],
            expert=cells.experts[column],
            prompts=int(given[row, column]),
            scored=int(cells.counts[row, column]),
            value=float(values[row, column]),
            error=float(cells.errors[row, column]),
            leads=bool(leaders[row] == column),
            gap=float(gaps[row, column]),
        )
        for row, column in np.argwhere(given > 0)
    ]
    return tuple(sorted(found, key=lambda each: (-each.prompts, each.category, each.expert)))
