"""Which scores to ask for next, so that the map of categories to experts is settled with the fewest.

Most cells of a table do not matter: an expert that trails by .3 needs no further proof. What a map can
still lose is its expected regret; a cell's worth is how far b more scores of it would lower that, per
score (the knowledge gradient with the best b: Frazier & Powell 2010). Scores are given out greedily,
each time to the worthiest cell, whose error then shrinks as b scores would shrink it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from routers.composition import ExpertCard
from routers.request import Matrix, Vector
from routers.utilities import estimate_utilities

LOOKAHEAD = (1, 2, 4, 8, 16, 32, 64)
"""Numbers of further scores that a cell's worth is looked at for: one alone seldom turns anything."""
ASSUMED_NOISE, ASSUMED_COUNT = 0.2, 10
"""What scores vary inside a cell, and how many scores that assumption is worth."""
SPREAD = 0.1
"""How far a cell may lie from what the fit expects of it, standard deviation."""

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cells:
    """What is known. `values` (categories, experts): utility less costs, what the map is chosen by;
    `errors` their standard errors; `counts` the scores behind them; `available` how many further
    prompts could be scored (infinite when anybody can write more); `weights` (categories,) shares of
    traffic; `noise` the variance of one score about its cell's mean."""

    categories: tuple[str, ...]
    experts: tuple[str, ...]
    values: Matrix
    errors: Matrix
    counts: Matrix
    available: Matrix
    weights: Vector
    noise: float

    def for_new_prompts(self) -> "Cells":
        """The same knowledge, with as many further prompts as anybody likes to write."""
        return replace(self, available=np.full_like(self.available, np.inf))


@dataclass(frozen=True, slots=True)
class CellPlan:
    """Score `prompts` more prompts of `category` with `expert`, who is `value` ± `error` after `scored`.

    `leads`: it holds the category now.
    """

    category: str
    expert: str
    prompts: int
    scored: int
    value: float
    error: float
    leads: bool
    gap: float
    """To the best of the others: positive when it leads."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Cells by prompts to score, most first. `regret_now` is what the map is expected to lose against
    the right one, `regret_after` what it would lose with these scores; in units of the score."""

    cells: tuple[CellPlan, ...]
    judgments: int
    regret_now: float
    regret_after: float


def plan(cells: Cells, judgments: int, chunk: int = 1) -> Plan:
    """Give out `judgments` scores, at least `chunk` at once to a cell as long as there are so many.

    Fewer are given when no further prompt is available. A category with one expert asks for none.
    """
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
    return Plan(
        _planned(cells, given),
        int(given.sum()),
        expected_regret(cells.values, cells.errors, cells.weights),
        expected_regret(cells.values, np.sqrt(variance), cells.weights),
    )


def expected_regret(values: Matrix, errors: Matrix, weights: Vector, draws: int = 2_000) -> float:
    """What choosing each category's best value is expected to lose, Σ_c w_c E[max_e u - u_chosen], when
    each u is normal about its value. By simulation with fixed draws: the same in, the same out."""
    random = np.random.default_rng(0)
    noise = random.standard_normal((draws, *values.shape))
    drawn = values.astype(np.float64) + errors.astype(np.float64) * noise
    chosen = np.take_along_axis(drawn, values.argmax(axis=1)[None, :, None], axis=2)[..., 0]
    lost = (drawn.max(axis=2) - chosen).mean(axis=0)
    return float(weights.astype(np.float64) @ lost)


def noise_of(scores: Matrix, labels: npt.NDArray[np.int64], categories: int) -> float:
    """Variance of one score about the mean of its cell, from `scores` (prompts, experts; NaN where
    unscored), as if ASSUMED_COUNT more had shown ASSUMED_NOISE: four right answers are no certainty."""
    seen = ~np.isnan(scores)
    filled = np.where(seen, scores, 0).astype(np.float64)
    shape = (categories, scores.shape[1])
    counts, totals, squares = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    np.add.at(counts, labels, seen)
    np.add.at(totals, labels, filled)
    np.add.at(squares, labels, filled**2)
    freedom = float(np.maximum(counts - 1, 0).sum())
    within = max(float((squares - totals**2 / np.maximum(counts, 1)).sum()), 0.0)
    return (within + ASSUMED_COUNT * ASSUMED_NOISE) / (freedom + ASSUMED_COUNT)


def cells_of(
    scores: Matrix,
    labels: npt.NDArray[np.int64],
    categories: Sequence[str],
    experts: Sequence[ExpertCard],
    *,
    costs: Vector | None = None,
) -> Cells:
    """What `scores` (prompts, experts; NaN where unscored) of prompts in the categories `labels` tell.

    A fit may find that few scores show no difference between categories, and then shrinks it all away.
    Whoever plans must still hold it possible: around the fitted utilities each cell may differ by
    SPREAD, and its own scores speak against that. `costs` (experts,) are taken from the values.
    Raises ValueError when an expert has no score at all.
    """
    fitted = estimate_utilities(scores, labels, len(categories))
    noise = noise_of(scores, labels, len(categories))
    seen = ~np.isnan(scores)
    counts, totals = np.zeros(fitted.counts.shape), np.zeros(fitted.counts.shape)
    np.add.at(counts, labels, seen)
    np.add.at(totals, labels, np.where(seen, scores, 0))
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
    """For each cell the most that a further score is worth, and with how many it is worth that."""
    if values.shape[1] < 2:
        return np.zeros(values.shape), np.ones(values.shape, dtype=np.int64)
    gap = np.abs(values - _best_other(values))
    best, steps = np.zeros(values.shape), np.ones(values.shape, dtype=np.int64)
    for step in LOOKAHEAD:
        possible = np.minimum(step, left)
        moves = np.sqrt(np.maximum(variance - _after(variance, possible, noise), 0))
        worth = np.where(moves > 0, moves * _loss(gap / np.maximum(moves, 1e-12)), 0)
        rate = weights[:, None] * worth / np.maximum(possible, 1)
        better = (rate > best) & (possible > 0)
        best = np.where(better, rate, best)
        steps = np.where(better, np.minimum(step, np.minimum(left, step)), steps).astype(np.int64)
    return best, steps


def _best_other(values: _Array) -> _Array:
    """For each cell the best value of the other experts in its category."""
    order = np.sort(values, axis=1)
    first, second = order[:, -1:], order[:, -2:-1]
    leads = np.zeros(values.shape, dtype=bool)
    leads[np.arange(len(values)), values.argmax(axis=1)] = True
    return np.where(leads, second, first)


def _after(variance: "_Array | float", scores: "_Array | float", noise: float) -> "_Array":
    """Variance of a mean after so many further scores."""
    return np.asarray(variance * noise / (noise + variance * scores))


def _loss(z: _Array) -> _Array:
    """φ(z) - z Φ(-z): the expected part of a standard normal beyond `z`."""
    from math import erfc, sqrt

    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    tail = np.asarray([0.5 * erfc(each / sqrt(2)) for each in z.ravel()]).reshape(z.shape)
    return np.asarray(np.maximum(density - z * tail, 0))


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
