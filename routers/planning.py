"""Which (category, expert) cells to score next: a greedy knowledge-gradient policy.

The value of a cell is the reduction of the map's expected regret by b more scores, per score or per unit of
compute, for the best b (KG(*), Frazier & Powell 2010). Scores go to the best cell, whose variance is then
updated, until the budget is spent.

A score varies with the prompt and, as answers are sampled, from one answer to the next. A new prompt tells
about both; a further sample of a prompt only halves what the sampling adds, so it is planned for once all
prompts of a cell are scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from routers.composition import ExpertCard
from routers.outcome_table import OutcomeTable, table_costs
from routers.request import Matrix, Vector
from routers.utilities import bases_of, cell_sums, estimate_with_arms

LOOKAHEAD = (1, 2, 4, 8, 16, 32, 64)
"""Candidates for b; one score alone seldom changes the map."""
ASSUMED_NOISE, ASSUMED_COUNT = 0.2, 10
"""Prior variance of a score within its cell, and the number of scores that the prior counts for."""
SPREAD = 0.1
"""Prior standard deviation of a cell about its fitted utility."""
MOST_SAMPLES = 16
"""Of one prompt."""
LEAST_BETWEEN = 0.01
"""Smallest variance between prompts of a cell, where sampling seems to account for all of it."""

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cells:
    """`values` (categories, experts): utility less costs, with `errors` (standard errors) and `counts`
    (scores); `available`: prompts that could still be scored; `weights` (categories,): traffic shares;
    `noise`: variance of one score about its cell's mean, `sampling_noise` the part of it about the
    prompt's own mean, 0 when it is not known: no further samples are planned then. `samples`: answers
    behind the counts. `compute`: B·tokens of one score, NaN unknown."""

    categories: tuple[str, ...]
    experts: tuple[str, ...]
    values: Matrix
    errors: Matrix
    counts: Matrix
    available: Matrix
    weights: Vector
    noise: float
    sampling_noise: float = 0.0
    samples: Matrix | None = None
    compute: Matrix | None = None

    def for_new_prompts(self) -> "Cells":
        """The same estimates with an unlimited number of further prompts."""
        return replace(self, available=np.full_like(self.available, np.inf))

    @property
    def exhausted(self) -> bool:
        """Whether no prompt is left and no further sample would tell anything."""
        samples = self.counts if self.samples is None else self.samples
        more = self.sampling_noise > 0 and bool((samples < self.counts * MOST_SAMPLES).any())
        return not more and not bool((self.available > 0).any())


@dataclass(frozen=True, slots=True)
class CellPlan:
    """Score `prompts` more prompts of `category` with `expert`, and ask known ones `samples` more times;
    `leads` if it is the category's best now."""

    category: str
    expert: str
    prompts: int
    samples: int
    scored: int
    value: float
    error: float
    leads: bool
    gap: float
    """Value less that of the best other expert."""


@dataclass(frozen=True, slots=True)
class ScoringPlan:
    """Cells by falling number of scores; expected regret of the map now and with these scores, and the
    B·tokens that they take (None unknown)."""

    cells: tuple[CellPlan, ...]
    judgments: int
    compute: float | None
    regret_now: float
    regret_after: float


def plan(cells: Cells, judgments: int, chunk: int = 1, *, compute: float | None = None) -> ScoringPlan:
    """Allocate up to `judgments` scores, in steps of at least `chunk`; none to categories of one expert. With
    `compute`, scores are chosen by what they tell per B·token, and take at most so many B·tokens in all.

    Raises ValueError when `compute` is given and that of some expert's scores is not known.
    """
    state = _State.of(cells, priced=compute is not None)
    new, again = np.zeros((2, *cells.values.shape), dtype=np.int64)
    remaining, affordable = judgments, np.inf if compute is None else compute
    rates, steps = state.worth()
    while remaining > 0:
        # What can no longer be paid for is passed over.
        rates = np.where(state.price <= affordable, rates, 0)
        row, column = (int(place) for place in np.unravel_index(int(rates.argmax()), rates.shape))
        if not rates[row, column] > 0:
            break
        price = float(state.price[row, column])
        most = remaining if compute is None else min(remaining, int(affordable // price))
        step = int(min(max(steps[row, column], chunk), most, state.possible[row, column]))
        (new if state.left[row, column] > 0 else again)[row, column] += step
        remaining -= step
        affordable -= step * price if compute is not None else 0
        state.add(row, column, step)
        part = slice(row, row + 1)
        rates[part], steps[part] = state.rows(part).worth()
    taken = (
        None
        if cells.compute is None
        else float(np.nansum(np.where(new + again, cells.compute, 0) * (new + again)))
    )
    return ScoringPlan(
        _planned(cells, new, again),
        int((new + again).sum()),
        taken,
        expected_regret(cells.values, cells.errors, cells.weights),
        expected_regret(cells.values, np.sqrt(state.variance), cells.weights),
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
    samples: Matrix | None = None,
    spread: Matrix | None = None,
    compute: Matrix | None = None,
) -> Cells:
    """Cells from `scores` (prompts, experts; NaN where unscored) with categories `labels`.

    Each cell has a normal prior about its fitted utility (an arm's: that of its base and their difference)
    with standard deviation SPREAD, since shrinkage removes differences that few scores cannot show but that
    planning has to consider. `costs`
    (categories, experts) are subtracted. `samples`, `spread` (standard deviation of a prompt's samples) and
    `compute` (B·tokens) have the shape of `scores`, NaN unknown. Raises ValueError when an expert has no
    score.
    """
    fitted = estimate_with_arms(scores, labels, len(categories), bases_of(experts))
    counts, totals, _ = cell_sums(scores, labels, len(categories))
    answers = np.where(np.isnan(scores), np.nan, 1 if samples is None else samples).astype(np.float32)
    asked = cell_sums(answers, labels, len(categories))[1]
    sampling_noise = sample_variance(answers, spread)
    between = max(
        score_variance(scores, labels, len(categories)) - sampling_noise * float(np.nanmean(1 / answers)),
        LEAST_BETWEEN,
    )
    noise = between + sampling_noise
    each = between + sampling_noise * counts / np.maximum(asked, 1)
    precision = counts / each + 1 / SPREAD**2
    values = (totals / each + fitted.by_category / SPREAD**2) / precision
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
        sampling_noise,
        asked.astype(np.float32),
        None if compute is None else _compute_of(compute, labels, len(categories)),
    )


def table_cells(table: OutcomeTable) -> Cells:
    """The cells of an outcome table, categories sorted. Raises ValueError when an expert has no score."""
    categories = sorted(set(table.categories))
    labels = np.asarray([categories.index(each) for each in table.categories], dtype=np.int64)
    return cells_of(
        table.scores,
        labels,
        categories,
        table.experts,
        samples=table.samples,
        spread=table.spread,
        compute=table_costs("compute", table),
    )


def sample_variance(samples: Matrix, spread: Matrix | None) -> float:
    """Pooled variance of a prompt's answers about their mean, from `spread` (prompts, experts) of `samples`
    answers each; 0 where nobody was asked twice."""
    if spread is None:
        return 0.0
    freedom = np.where(np.isnan(spread), 0, np.nan_to_num(samples) - 1).clip(min=0)
    return float((freedom * np.nan_to_num(spread) ** 2).sum() / max(float(freedom.sum()), 1.0))


def _compute_of(compute: Matrix, labels: npt.NDArray[np.int64], categories: int) -> Matrix:
    """Mean B·tokens of a score (categories, experts); those of the expert's other categories where a cell has
    none, NaN for an expert without any."""
    counts, totals, _ = cell_sums(compute, labels, categories)
    overall = totals.sum(axis=0) / np.where(counts.sum(axis=0), counts.sum(axis=0), np.nan)
    means: Matrix = np.where(counts, totals / np.maximum(counts, 1), overall).astype(np.float32)
    return means


@dataclass(slots=True)
class _State:
    """What is known while scores are handed out; all (categories, experts) but `weights` and the noises."""

    values: _Array
    variance: _Array
    left: _Array
    prompts: _Array
    samples: _Array
    price: _Array
    weights: _Array
    noise: float
    sampling_noise: float

    @classmethod
    def of(cls, cells: Cells, *, priced: bool) -> "_State":
        price = np.ones(cells.values.shape)
        if priced:
            if cells.compute is None or np.isnan(cells.compute).any():
                nothing = np.full_like(cells.values, np.nan) if cells.compute is None else cells.compute
                names = [
                    name for name, of in zip(cells.experts, nothing.T, strict=True) if np.isnan(of).any()
                ]
                raise ValueError(f"the tokens of a score are not known for {', '.join(names)}")
            price = cells.compute.astype(np.float64)
        return cls(
            cells.values.astype(np.float64),
            cells.errors.astype(np.float64) ** 2,
            cells.available.astype(np.float64).copy(),
            cells.counts.astype(np.float64).copy(),
            (cells.counts if cells.samples is None else cells.samples).astype(np.float64).copy(),
            price,
            cells.weights.astype(np.float64),
            cells.noise,
            cells.sampling_noise,
        )

    def rows(self, part: slice) -> "_State":
        names = ("values", "variance", "left", "prompts", "samples", "price", "weights")
        return replace(self, **{name: getattr(self, name)[part] for name in names})

    @property
    def possible(self) -> _Array:
        """Scores that can be asked for next: new prompts, or further samples when none is left."""
        more = self.prompts * MOST_SAMPLES - self.samples if self.sampling_noise > 0 else 0.0
        return np.where(self.left > 0, self.left, np.maximum(more, 0))

    def after(self, scores: _Array | float) -> _Array:
        """Posterior variance of the cells' means after `scores` more in each, of the kind that is next."""
        gained = np.where(
            self.left > 0,
            scores / self.noise,
            self._information(self.samples + scores) - self._information(self.samples),
        )
        return np.asarray(self.variance / (1 + self.variance * gained))

    def _information(self, samples: _Array) -> _Array:
        """Precision of the mean over the scored prompts, asked `samples` times in all."""
        between = self.noise - self.sampling_noise
        prompts = np.maximum(self.prompts, 1)
        each = between + self.sampling_noise * prompts / np.maximum(samples, 1)
        return np.asarray(self.prompts / each)

    def add(self, row: int, column: int, scores: int) -> None:
        self.variance[row, column] = self.after(float(scores))[row, column]
        self.samples[row, column] += scores
        if self.left[row, column] > 0:
            self.left[row, column] -= scores
            self.prompts[row, column] += scores

    def worth(self) -> tuple[_Array, npt.NDArray[np.int64]]:
        """Per cell, the best regret reduction per unit of price over LOOKAHEAD, and the b that gives it."""
        best, steps = np.zeros(self.values.shape), np.ones(self.values.shape, dtype=np.int64)
        if self.values.shape[1] < 2:
            return best, steps
        gap = np.abs(self.values - _best_other(self.values))
        for step in LOOKAHEAD:
            scores = np.minimum(step, self.possible)
            moves = np.sqrt(np.maximum(self.variance - self.after(scores), 0))
            worth = np.where(moves > 0, moves * _unit_normal_loss(gap / np.maximum(moves, 1e-12)), 0)
            rate = self.weights[:, None] * worth / (np.maximum(scores, 1) * np.maximum(self.price, 1e-12))
            better = (rate > best) & (scores > 0)
            best = np.where(better, rate, best)
            steps = np.where(better, scores, steps).astype(np.int64)
        return best, steps


def _best_other(values: _Array) -> _Array:
    """Per cell, the best value among the other experts of its category."""
    order = np.sort(values, axis=1)
    first, second = order[:, -1:], order[:, -2:-1]
    leads = np.zeros(values.shape, dtype=bool)
    leads[np.arange(len(values)), values.argmax(axis=1)] = True
    return np.where(leads, second, first)


def _unit_normal_loss(z: _Array) -> _Array:
    """φ(z) - z Φ(-z)."""
    from scipy.special import ndtr

    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return np.asarray(np.maximum(density - z * ndtr(-z), 0))


def _planned(cells: Cells, new: npt.NDArray[np.int64], again: npt.NDArray[np.int64]) -> tuple[CellPlan, ...]:
    values = cells.values.astype(np.float64)
    gaps = values - _best_other(values) if values.shape[1] > 1 else np.zeros(values.shape)
    leaders = values.argmax(axis=1)
    found = [
        CellPlan(
            category=cells.categories[row],
            expert=cells.experts[column],
            prompts=int(new[row, column]),
            samples=int(again[row, column]),
            scored=int(cells.counts[row, column]),
            value=float(values[row, column]),
            error=float(cells.errors[row, column]),
            leads=bool(leaders[row] == column),
            gap=float(gaps[row, column]),
        )
        for row, column in np.argwhere(new + again > 0)
    ]
    return tuple(sorted(found, key=lambda each: (-each.prompts - each.samples, each.category, each.expert)))
