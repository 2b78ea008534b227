"""Turning estimates into a policy: the weights that meet a target, when to be unsure, who answers then.

A policy is judged by what it would have done on held-out prompts: decisions from held-out estimates,
scored with what the experts really got.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from routers.calibration import threshold_for_accuracy
from routers.composition import ExpertCard, costs
from routers.fitting.options import FitError, FitOptions
from routers.fitting.splits import Index
from routers.fitting.stage1 import HeldOut
from routers.policy import Policy
from routers.request import Matrix, Vector
from routers.utilities import Utilities

FEWEST_UNSURE = 20
"""Unsure held-out prompts needed to choose the fallback expert among them and not overall."""
FEWEST_SCORED = 200
"""Scored prompts below which the threshold follows category accuracy, not scores."""
SURE_ACCURACY = 0.9
"""Where nothing was scored: how often a category that is acted on shall be right."""
CAUTION = 5e-4
"""Mean score given up so that more of what is unsure is said to be unsure."""
REGION_BELIEF = 200
"""Unsure prompts at which their own scores count as much as all scores: odd ones are few and noisy."""
LARGEST_WEIGHT = 1e3


@dataclass(frozen=True, slots=True)
class Trial:
    """Held-out prompts with scores: `expected` and `scores` (prompts, experts; NaN where unscored),
    `confidence` and `novelty` (a quantile, 0..1) (prompts,)."""

    expected: Matrix
    scores: Matrix
    confidence: Vector
    novelty: Vector

    def unsure(self, policy: Policy) -> npt.NDArray[np.bool_]:
        """Prompts that the policy does not dare to call by category."""
        doubtful: npt.NDArray[np.bool_] = (self.confidence < policy.threshold) | (
            self.novelty > policy.ood_threshold
        )
        return doubtful

    def choices(self, experts: Sequence[ExpertCard], policy: Policy) -> Index:
        """The column of the expert that the policy takes, (prompts,)."""
        best: Index = (self.expected - costs(experts, policy)).argmax(axis=1)
        fallback = [card.name for card in experts].index(policy.generalist)
        return np.where(self.unsure(policy), fallback, best)

    def score(self, chosen: Index) -> float:
        """Mean score of these choices over the prompts where it is known."""
        return float(np.nanmean(self.scores[np.arange(len(chosen)), chosen]))


def fit_policy(
    held_out: HeldOut,
    utilities: Utilities,
    experts: Sequence[ExpertCard],
    options: FitOptions,
    trial: Trial | None = None,
) -> Policy:
    """The policy of `options`; `trial` None when no scored prompts were held out.

    Raises FitError when a target is out of reach.
    """
    policy = Policy(
        generalist=experts[0].name,
        threshold=0.0,
        ood_threshold=options.novel_quantile,
        active_weight=options.active_weight,
        price_weight=options.price_weight,
        switch_cost=options.switch_cost,
    )
    by_scores = trial is not None and len(trial.scores) >= FEWEST_SCORED
    if options.target_active_b is not None or options.target_price is not None:
        if trial is None:
            raise FitError("a target needs scored prompts: score some, or give a weight")
        policy = _meeting(trial, experts, policy, options)
    if options.sure_accuracy is not None or trial is None or not by_scores:
        wanted = SURE_ACCURACY if options.sure_accuracy is None else options.sure_accuracy
        threshold = threshold_for_accuracy(held_out.confidence, held_out.correct, wanted)
        policy = replace(policy, threshold=threshold)
        policy = replace(policy, generalist=_fallback(held_out, utilities, experts, policy))
    else:
        policy = _cautious(trial, experts, policy)
    if trial is not None and (options.target_active_b is not None or options.target_price is not None):
        policy = _meeting(trial, experts, policy, options)
    return policy


def _fallback(held_out: HeldOut, utilities: Utilities, experts: Sequence[ExpertCard], policy: Policy) -> str:
    """Worth most in the categories that unsure prompts really came from."""
    unsure = held_out.confidence < policy.threshold
    region = held_out.labels[unsure] if unsure.sum() >= FEWEST_UNSURE else held_out.labels
    worth = utilities.by_category[region].mean(axis=0) - costs(experts, policy)
    return experts[int(worth.argmax())].name


def _cautious(trial: Trial, experts: Sequence[ExpertCard], policy: Policy) -> Policy:
    """The largest threshold, with its best fallback, that costs next to nothing of the best value."""
    expert_costs = costs(experts, policy)
    levels = np.unique(np.quantile(trial.confidence, np.linspace(0, 0.5, 51)))
    tried = []
    for threshold in [0.0, *levels.tolist()]:
        unsure = (trial.confidence < threshold) | (trial.novelty > policy.ood_threshold)
        worth = _worth(trial.scores, unsure) - expert_costs
        candidate = replace(policy, threshold=float(threshold), generalist=experts[int(worth.argmax())].name)
        chosen = trial.choices(experts, candidate)
        tried.append((trial.score(chosen) - float(expert_costs[chosen].mean()), candidate))
    best = max(value for value, _ in tried)
    return [candidate for value, candidate in tried if value >= best - CAUTION][-1]


def _worth(scores: Matrix, region: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Mean score of each expert in a region, drawn to its overall mean where the region is small."""
    seen = ~np.isnan(scores)
    overall = np.nanmean(scores, axis=0).astype(np.float64)
    count = seen[region].sum(axis=0)
    total = np.where(seen[region], scores[region], 0.0).sum(axis=0)
    worth: npt.NDArray[np.float64] = (total + REGION_BELIEF * overall) / (count + REGION_BELIEF)
    return worth


def _meeting(trial: Trial, experts: Sequence[ExpertCard], policy: Policy, options: FitOptions) -> Policy:
    """The policy with the smallest weight under which held-out decisions meet the target on average.

    What is spent never rises with the weight, so halving the interval finds the weight.
    """
    if options.target_active_b is not None:
        target, unit = options.target_active_b, "B active parameters"
        each = np.asarray([card.active_params_b for card in experts])
    else:
        target, unit = float(options.target_price or 0.0), "$ per million tokens"
        each = np.asarray([card.price for card in experts])

    def weighing(weight: float) -> Policy:
        if options.target_active_b is not None:
            return replace(policy, active_weight=weight)
        return replace(policy, price_weight=weight)

    def spent(weight: float) -> float:
        candidate = weighing(weight)
        return float(each[trial.choices(experts, candidate)].mean())

    if spent(0.0) <= target:
        return weighing(0.0)
    low, high = 0.0, LARGEST_WEIGHT
    if spent(high) > target:
        raise FitError(
            f"a target of {target:g} {unit} is out of reach: the cheapest decisions take "
            f"{spent(high):g} on average"
        )
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) > target else (low, middle)
    return weighing(high)
