"""Turning estimates into a policy: the weights that meet a target, when to be unsure, who answers then.

A policy is judged by what it would have done on held-out prompts: decisions from held-out estimates,
scored with what the experts really got.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from routers.calibration import threshold_for_accuracy
from routers.composition import ExpertCard, best_of, costs
from routers.fitting.fit_options import FitError, FitOptions
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
LARGEST_UNSURE = 0.2
"""Share of requests that caution may call unsure."""
CAREFUL_TRUST = 0.5
"""How much a correction counts whose whole is not seen to make decisions better."""
LARGEST_WEIGHT, SMALLEST_WEIGHT = 1e3, 1e-9
HALVINGS = 40


@dataclass(frozen=True, slots=True)
class Expectation:
    """Expected scores (prompts, experts): `held_out` without the prompt's fold, and `settled`, with the
    utilities of all prompts in them, which the composition has. Between folds they differ, and where a
    whole category is about to change sides, so does what is spent.
    """

    held_out: Matrix
    settled: Matrix


@dataclass(frozen=True, slots=True)
class Trial:
    """Held-out prompts with scores: `by_category`, `corrected` (by the request) and `scores` (prompts,
    experts; NaN where unscored), `confidence` and `novelty` (a quantile, 0..1) (prompts,).
    """

    by_category: "Expectation"
    corrected: "Expectation"
    scores: Matrix
    confidence: Vector
    novelty: Vector

    def expectation(self, policy: Policy) -> "Expectation":
        """What decisions of `policy` rest on: the correction counts as much as it is trusted."""
        plain, share = self.by_category, np.float32(policy.trust)
        return Expectation(
            plain.held_out + share * (self.corrected.held_out - plain.held_out),
            plain.settled + share * (self.corrected.settled - plain.settled),
        )

    def unsure(self, policy: Policy) -> npt.NDArray[np.bool_]:
        """Prompts that the policy does not dare to call by category."""
        doubtful: npt.NDArray[np.bool_] = (self.confidence < policy.threshold) | (
            self.novelty > policy.ood_threshold
        )
        return doubtful

    def choices(self, experts: Sequence[ExpertCard], policy: Policy) -> Index:
        """The column of the expert that the policy takes, (prompts,)."""
        return self._choices(self.expectation(policy).held_out, experts, policy)

    def _choices(self, expected: Matrix, experts: Sequence[ExpertCard], policy: Policy) -> Index:
        best = best_of(expected - costs(experts, policy), experts)
        fallback = [card.name for card in experts].index(policy.generalist)
        return np.where(self.unsure(policy), fallback, best)

    def spent(self, each: Vector, experts: Sequence[ExpertCard], policy: Policy) -> float:
        """Mean over prompts of `each` (experts,) of the chosen expert, by the estimate where it is larger."""
        found = self.expectation(policy)
        both = (self._choices(expected, experts, policy) for expected in (found.held_out, found.settled))
        return max(float(each[chosen].mean()) for chosen in both)

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

    Unless `options` say otherwise, a correction by the request counts for half where held-out decisions
    do not show that the whole of it is better: predictions that are closer to the truth on average need
    not choose better, since the highest of several is often the one with the largest error. Raises
    FitError when a target is out of reach.
    """
    policy = _fitted(held_out, utilities, experts, options, trial, trust=1.0)
    if trial is None or trial.corrected is trial.by_category or options.correction:
        return policy
    careful = _fitted(held_out, utilities, experts, options, trial, trust=CAREFUL_TRUST)
    return policy if _pays(trial, experts, policy, careful) else careful


def _pays(trial: Trial, experts: Sequence[ExpertCard], policy: Policy, other: Policy) -> bool:
    """Whether decisions of `policy` are worth more than those of `other`, by more than a standard error.
    Worth is the score less the cost, for both at the weights of `policy`."""
    net = trial.scores - costs(experts, policy)
    rows = np.arange(len(net))
    gain = net[rows, trial.choices(experts, policy)] - net[rows, trial.choices(experts, other)]
    gain = gain[~np.isnan(gain)]
    return len(gain) > 1 and bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))


def _fitted(
    held_out: HeldOut,
    utilities: Utilities,
    experts: Sequence[ExpertCard],
    options: FitOptions,
    trial: Trial | None,
    *,
    trust: float,
) -> Policy:
    """The policy that trusts the correction by the request so much."""
    policy = Policy(
        trust=trust,
        generalist=experts[0].name,
        threshold=0.0,
        ood_threshold=options.novel_quantile,
        active_weight=options.active_weight,
        price_weight=options.price_weight,
        switch_cost=options.switch_cost,
    )
    threshold: float | None = None
    if options.sure_accuracy is not None or trial is None or len(trial.scores) < FEWEST_SCORED:
        wanted = SURE_ACCURACY if options.sure_accuracy is None else options.sure_accuracy
        threshold = threshold_for_accuracy(held_out.confidence, held_out.correct, wanted)

    def weighing(active_weight: float, price_weight: float) -> Policy:
        """The whole policy under these weights: who answers what is unsure depends on them too."""
        weighed = replace(policy, active_weight=active_weight, price_weight=price_weight)
        if threshold is None and trial is not None:
            return _cautious(trial, experts, weighed)
        weighed = replace(weighed, threshold=threshold or 0.0)
        return replace(weighed, generalist=_fallback(held_out, utilities, experts, weighed))

    if options.target_active_b is None and options.target_price is None:
        return weighing(options.active_weight, options.price_weight)
    if trial is None:
        raise FitError("a target needs scored prompts: score some, or give a weight")
    met = _meeting(trial, experts, weighing, options)
    if threshold is not None:
        return met

    def daring(active_weight: float, price_weight: float) -> Policy:
        weighed = replace(policy, active_weight=active_weight, price_weight=price_weight)
        return _cautious(trial, experts, weighed, largest_unsure=0.0)

    # Many unsure requests move to another fallback at once, which can leave much of the target unused.
    close = _meeting(trial, experts, daring, options)
    value, other = (trial.score(trial.choices(experts, each)) for each in (met, close))
    return met if value >= other - CAUTION else close


def _fallback(held_out: HeldOut, utilities: Utilities, experts: Sequence[ExpertCard], policy: Policy) -> str:
    """Worth most in the categories that unsure prompts really came from."""
    unsure = held_out.confidence < policy.threshold
    region = held_out.labels[unsure] if unsure.sum() >= FEWEST_UNSURE else held_out.labels
    worth = utilities.by_category[region].mean(axis=0) - costs(experts, policy)
    return experts[int(worth.argmax())].name


def _cautious(
    trial: Trial, experts: Sequence[ExpertCard], policy: Policy, largest_unsure: float = LARGEST_UNSURE
) -> Policy:
    """The largest threshold, with its best fallback, that costs next to nothing of the best value."""
    expert_costs = costs(experts, policy)
    best = best_of(trial.expectation(policy).held_out - expert_costs, experts)
    net = trial.scores - expert_costs
    rows = np.arange(len(net))
    levels = np.unique(np.quantile(trial.confidence, np.linspace(0, largest_unsure, 21)))
    tried = []
    for threshold in [0.0, *levels.tolist()]:
        unsure = (trial.confidence < threshold) | (trial.novelty > policy.ood_threshold)
        fallback = int((_worth(trial.scores, unsure) - expert_costs).argmax())
        value = float(np.nanmean(net[rows, np.where(unsure, fallback, best)]))
        tried.append((value, threshold, fallback))
    most = max(value for value, _, _ in tried)
    _, threshold, fallback = [each for each in tried if each[0] >= most - CAUTION][-1]
    return replace(policy, threshold=float(threshold), generalist=experts[fallback].name)


def _worth(scores: Matrix, region: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Mean score of each expert in a region, drawn to its overall mean where the region is small."""
    seen = ~np.isnan(scores)
    overall = np.nanmean(scores, axis=0).astype(np.float64)
    count = seen[region].sum(axis=0)
    total = np.where(seen[region], scores[region], 0.0).sum(axis=0)
    worth: npt.NDArray[np.float64] = (total + REGION_BELIEF * overall) / (count + REGION_BELIEF)
    return worth


def _meeting(
    trial: Trial,
    experts: Sequence[ExpertCard],
    weighing: Callable[[float, float], Policy],
    options: FitOptions,
) -> Policy:
    """The policy with the smallest weight under which held-out decisions meet the target on average.

    The interval is halved between a weight that spends too much and one that does not, so what is
    returned never spends more than the target.
    """
    by_size = options.target_active_b is not None
    target = float((options.target_active_b if by_size else options.target_price) or 0.0)
    unit = "B active parameters" if by_size else "$ per million tokens"
    each = np.asarray([card.active_params_b if by_size else card.price for card in experts], dtype=np.float32)

    def at(weight: float) -> tuple[Policy, float]:
        candidate = (
            weighing(weight, options.price_weight) if by_size else weighing(options.active_weight, weight)
        )
        return candidate, trial.spent(each, experts, candidate)

    free, spent = at(0.0)
    if spent <= target:
        return free
    met, spent = at(LARGEST_WEIGHT)
    if spent > target:
        raise FitError(
            f"a target of {target:g} {unit} is out of reach: the cheapest decisions take {spent:g} on average"
        )
    low, high = 0.0, LARGEST_WEIGHT
    # Weights matter by their order of magnitude, so the first steps go down by powers.
    while high > SMALLEST_WEIGHT:
        candidate, spent = at(high / 10)
        if spent > target:
            low = high / 10
            break
        met, high = candidate, high / 10
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        candidate, spent = at(middle)
        if spent > target:
            low = middle
        else:
            met, high = candidate, middle
    return met
