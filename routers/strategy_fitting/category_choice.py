"""Chooses for each category between one expert and a fitted strategy, by the same scores and costs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from routers.composition import Composition
from routers.fitting.fit_options import WEIGHTS, with_weight
from routers.policy import Policy
from routers.request_costs import COMPUTE_UNIT
from routers.strategies.ask_order import TOLERANCE, costs_of
from routers.strategies.fitted_strategies import FittedPolicy, Unit
from routers.strategies.strategy_policy import Booleans, Floats
from routers.strategy_choice import CHOICE
from routers.strategy_fitting.recorded_answers import AnswersError
from routers.strategy_fitting.training_data import StrategyOutcome, TrainingData

PRIOR = 100.0
"""Pseudo-count of a strategy's mean gain over all prompts in its gain in a category."""
SURE_ERRORS = 2.0
"""Standard errors that a gain must exceed."""
TRIED = 48
"""Weights on cost that are tried for a target."""
COMBINED = ("mixed",)
"""Families that choose by category themselves."""

GAIN_FIELDS = ("gain", "error", "score", "active_params_b", "single_score")

Candidate = tuple[FittedPolicy, StrategyOutcome]


@dataclass(frozen=True, slots=True)
class CategoryGain:
    """The strategy `id` of a category, and its net gain over one expert (score minus weighted cost) with its
    standard `error`; its expected `score` and `active` parameters (billions), and one expert's score."""

    id: str
    gain: float
    error: float
    score: float
    active_params_b: float
    single_score: float


@dataclass(frozen=True, slots=True)
class StrategyMap:
    """Strategies by category, those without one left out; `weight` on cost, in utility per unit. Held-out
    `score` and `cost` of the whole, and of one expert for each request at the same budget."""

    by_category: dict[str, CategoryGain]
    weight: float
    score: float
    cost: float
    single_score: float
    single_cost: float

    def document(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "by_category": {
                category: {
                    "strategy": each.id,
                    **{name: round(getattr(each, name), 4) for name in GAIN_FIELDS},
                }
                for category, each in self.by_category.items()
            },
            "weight": float(f"{self.weight:.6g}"),
            **{
                name: round(getattr(self, name), 5)
                for name in ("score", "cost", "single_score", "single_cost")
            },
        }


def choose_by_category(
    composition: Composition,
    data: TrainingData,
    candidates: Sequence[Candidate],
    unit: Unit,
    target: float | None = None,
) -> StrategyMap | None:
    """The map of the highest held-out score within an average cost of `target`; without one, at the
    composition's own weight on that cost. None where neither is given. Raises AnswersError when nothing is
    within the target."""
    own = weight_of(composition.policy, unit)
    if target is None:
        return None if own <= 0 else _map(composition, data, candidates, own)
    costs = costs_of(data.costs, data.state)
    spread = np.ptp(data.state.expected, axis=1).mean() / max(float(np.ptp(costs.mean(axis=0))), 1e-12)
    tried = [0.0, *np.geomspace(spread / 300, spread * 100, TRIED).tolist()]
    maps = [_map(composition, data, candidates, weight) for weight in tried]
    able = [each for each in maps if each.cost <= target * TOLERANCE]
    if not able:
        least = min(each.cost for each in maps)
        raise AnswersError(f"no choice costs {target:g} on average; the least is {least:.4g}")
    best = max(able, key=lambda each: (each.score, -each.cost))
    single = max(
        (each for each in maps if each.single_cost <= target * TOLERANCE),
        key=lambda each: each.single_score,
        default=best,
    )
    return replace(best, single_score=single.single_score, single_cost=single.single_cost)


def with_map(composition: Composition, found: StrategyMap | None, unit: Unit) -> Composition:
    """The composition whose policy follows the map."""
    older = {key: value for key, value in composition.manifest.items() if key != CHOICE}
    if found is None:
        return replace(composition, manifest=older)
    names = {category: each.id for category, each in found.by_category.items()}
    scale = COMPUTE_UNIT if unit == "compute" else 1.0
    policy = with_weight(replace(composition.policy, strategies=names), unit, found.weight * scale)
    manifest = {**older, CHOICE: found.document()}
    return replace(composition, policy=policy, manifest=manifest)


def weight_of(policy: Policy, unit: Unit) -> float:
    """Utility per unit of cost."""
    weight = float(getattr(policy, WEIGHTS[unit]))
    return weight / COMPUTE_UNIT if unit == "compute" else weight


def _map(
    composition: Composition, data: TrainingData, candidates: Sequence[Candidate], weight: float
) -> StrategyMap:
    single = _single(composition, data, weight)
    sure = data.state.posterior.max(axis=1) >= composition.policy.threshold
    score, cost = single.score.copy(), single.cost.copy()
    found: dict[str, CategoryGain] = {}
    for number, category in enumerate(composition.categories):
        rows = sure & (data.category == number)
        if not rows.any():
            continue
        best: tuple[CategoryGain, StrategyOutcome] | None = None
        for policy, outcome in candidates:
            if policy.name in COMBINED:
                continue
            gain = _gain(policy.id, outcome, single, weight, rows, sure)
            if gain.gain > SURE_ERRORS * gain.error and (best is None or gain.gain > best[0].gain):
                best = gain, outcome
        if best is not None:
            found[category] = best[0]
            score[rows], cost[rows] = best[1].score[rows], best[1].cost[rows]
    return StrategyMap(
        found,
        weight,
        float(score.mean()),
        float(cost.mean()),
        float(single.score.mean()),
        float(single.cost.mean()),
    )


def _gain(
    name: str,
    outcome: StrategyOutcome,
    single: StrategyOutcome,
    weight: float,
    rows: Booleans,
    every: Booleans,
) -> CategoryGain:
    """The gain over `single` in `rows`, shrunk to that in `every` row, with its standard error."""
    better = outcome.score - single.score
    net = better - weight * (outcome.cost - single.cost)
    here, all_ = net[rows], net[every]
    share = len(here) / (len(here) + PRIOR)
    variances = [float(each.var(ddof=1)) / len(each) if len(each) > 1 else np.inf for each in (here, all_)]
    alone = float(single.score[rows].mean())
    return CategoryGain(
        id=name,
        gain=_shrunk(net, rows, every, share),
        error=float(np.sqrt(share**2 * variances[0] + (1 - share) ** 2 * variances[1])),
        score=min(max(alone + _shrunk(better, rows, every, share), 0.0), 1.0),
        active_params_b=float(outcome.active[rows].mean()),
        single_score=alone,
    )


def _shrunk(values: Floats, rows: Booleans, every: Booleans, share: float) -> float:
    return share * float(values[rows].mean()) + (1 - share) * float(values[every].mean())


def _single(composition: Composition, data: TrainingData, weight: float) -> StrategyOutcome:
    """One expert for each request: of the highest expected score minus weighted cost, the generalist where
    the category is not sure."""
    values = data.state.expected - weight * costs_of(data.costs, data.state)
    chosen = np.where(data.state.available, values, -np.inf).argmax(axis=1)
    sure = data.state.posterior.max(axis=1) >= composition.policy.threshold
    fallback = composition.expert_names.index(composition.policy.generalist)
    rows = np.arange(len(data))
    chosen = np.where(sure | ~data.state.available[rows, fallback], chosen, fallback)
    asked = np.zeros(data.state.expected.shape, dtype=np.bool_)
    asked[rows, chosen] = True
    return StrategyOutcome.asked(data, data.recorded.scores_of(chosen), asked)
