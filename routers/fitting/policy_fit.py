"""Fitting the policy: cost weights for a target, the confidence threshold and the fallback expert.

A policy is evaluated on held-out prompts: decisions from cross-validated estimates, scored with the experts'
real scores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from routers.calibration import threshold_for_accuracy
from routers.composition import ExpertCard, best_of
from routers.fitting.fit_options import FitError, FitOptions, with_weight
from routers.fitting.splits import Index
from routers.fitting.stage1 import HeldOut
from routers.policy import Policy
from routers.request import Matrix, Vector
from routers.request_costs import UNITS, CostKind, ExpectedTokens, cell_costs, costs, known_costs
from routers.utilities import Utilities

MIN_UNSURE = 20
"""Uncertain held-out prompts needed to choose the fallback expert on them alone."""
MIN_SCORED = 200
"""Scored prompts below which the threshold follows category accuracy instead of scores."""
SURE_ACCURACY = 0.9
"""Default accuracy of accepted categories in that case."""
THRESHOLD_TOLERANCE = 5e-4
"""Mean score that may be given up for a larger threshold."""
REGION_SHRINKAGE = 200
"""Pseudo-count of the overall means in the experts' means over uncertain prompts."""
WIDE = 0.9
"""Share of the most scored expert's prompts that another needs to be compared by its plain mean."""
MAX_UNSURE_SHARE = 0.2
"""Largest share of requests below a threshold chosen by scores."""
MAX_WEIGHT, MIN_WEIGHT = 1e9, 1e-9
BISECTION_STEPS = 40


@dataclass(frozen=True, slots=True)
class ExpectedScores:
    """Expected scores (prompts, experts): `held_out` from utilities without the prompt's fold, `refitted`
    from those of all prompts, as in the composition. The cost of a decision can differ between them."""

    held_out: Matrix
    refitted: Matrix


@dataclass(frozen=True, slots=True)
class ValidationSet:
    """Held-out prompts with `scores` (prompts, experts; NaN where unscored), expected scores `by_category`
    and `corrected` per request, `confidence` and `novelty` (a quantile, 0..1), both (prompts,), the category
    `posterior` (prompts, categories), and the `tokens` that their categories are expected to take."""

    by_category: ExpectedScores
    corrected: ExpectedScores
    scores: Matrix
    confidence: Vector
    novelty: Vector
    posterior: Matrix
    tokens: ExpectedTokens | None = None

    def costs(self, experts: Sequence[ExpertCard], policy: Policy) -> Matrix:
        """What the policy takes off the expected scores, (prompts, experts). Raises UnknownCost."""
        return costs(experts, policy, self.tokens, self.posterior)

    def expected_scores(self, policy: Policy) -> ExpectedScores:
        """Expected scores with the correction weighted by `policy.trust`."""
        plain, share = self.by_category, np.float32(policy.trust)
        return ExpectedScores(
            plain.held_out + share * (self.corrected.held_out - plain.held_out),
            plain.refitted + share * (self.corrected.refitted - plain.refitted),
        )

    def choices(self, experts: Sequence[ExpertCard], policy: Policy) -> Index:
        """The column of the chosen expert, (prompts,)."""
        return self._choices(self.expected_scores(policy).held_out, experts, policy)

    def _choices(self, expected: Matrix, experts: Sequence[ExpertCard], policy: Policy) -> Index:
        best = best_of(expected - self.costs(experts, policy), experts)
        fallback = [card.name for card in experts].index(policy.generalist)
        unsure = (self.confidence < policy.threshold) | (self.novelty > policy.ood_threshold)
        return np.where(unsure, fallback, best)

    def mean_cost(self, kind: CostKind, experts: Sequence[ExpertCard], policy: Policy) -> float:
        """What the chosen experts take on average, by the more expensive of the two estimates."""
        each = cell_costs(kind, experts, self.tokens, self.posterior)
        rows = np.arange(len(each))
        found = self.expected_scores(policy)
        both = (self._choices(expected, experts, policy) for expected in (found.held_out, found.refitted))
        return max(float(each[rows, chosen].mean()) for chosen in both)

    def score(self, chosen: Index) -> float:
        """Mean of the known scores of these choices."""
        return float(np.nanmean(self.scores[np.arange(len(chosen)), chosen]))


def fit_policy(
    held_out: HeldOut,
    utilities: Utilities,
    experts: Sequence[ExpertCard],
    options: FitOptions,
    validation: ValidationSet | None = None,
    tokens: ExpectedTokens | None = None,
) -> Policy:
    """The policy of `options`; `validation` None when no scored prompts were held out.

    Unless `options.correction` is True, a correction that does not improve held-out decisions significantly
    has no weight (`trust` 0): a smaller mean squared error need not give better choices, since the highest of
    several estimates tends to be the most overestimated. Raises FitError when a target cannot be met.
    """
    policy = _fit(held_out, utilities, experts, options, validation, tokens, trust=1.0)
    if validation is None or validation.corrected is validation.by_category or options.correction:
        return policy
    without = _fit(held_out, utilities, experts, options, validation, tokens, trust=0.0)
    return policy if _significantly_better(validation, experts, policy, without) else without


def _significantly_better(
    validation: ValidationSet, experts: Sequence[ExpertCard], policy: Policy, other: Policy
) -> bool:
    """Whether score less cost, at the weights of `policy`, is higher than `other`'s by a standard error."""
    net = validation.scores - validation.costs(experts, policy)
    rows = np.arange(len(net))
    gain = net[rows, validation.choices(experts, policy)] - net[rows, validation.choices(experts, other)]
    gain = gain[~np.isnan(gain)]
    return len(gain) > 1 and bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))


def _fit(
    held_out: HeldOut,
    utilities: Utilities,
    experts: Sequence[ExpertCard],
    options: FitOptions,
    validation: ValidationSet | None,
    tokens: ExpectedTokens | None,
    *,
    trust: float,
) -> Policy:
    policy = Policy(
        trust=trust,
        generalist=experts[0].name,
        threshold=0.0,
        ood_threshold=options.novel_quantile,
        switch_cost=options.switch_cost,
    )
    policy = options.weighted(policy)
    threshold: float | None = None
    if options.sure_accuracy is not None or validation is None or len(validation.scores) < MIN_SCORED:
        wanted = SURE_ACCURACY if options.sure_accuracy is None else options.sure_accuracy
        threshold = threshold_for_accuracy(held_out.confidence, held_out.correct, wanted)

    def weighted(new: Policy, max_unsure_share: float = MAX_UNSURE_SHARE) -> Policy:
        """Threshold and fallback depend on the weights, so they are chosen again for each."""
        if threshold is None and validation is not None:
            return _with_threshold(validation, experts, new, max_unsure_share)
        new = replace(new, threshold=threshold or 0.0)
        return replace(new, generalist=_fallback(held_out, utilities, experts, new, tokens))

    if options.target is None:
        return weighted(policy)
    if validation is None:
        raise FitError("a target needs scored prompts: score some, or give a weight")
    met = _meet_target(validation, experts, policy, weighted, options)
    if threshold is not None:
        return met
    # Many uncertain requests change their fallback at once, which can leave much of the target unused.
    without = _meet_target(validation, experts, policy, lambda new: weighted(new, 0.0), options)
    score, other = (validation.score(validation.choices(experts, each)) for each in (met, without))
    return met if score >= other - THRESHOLD_TOLERANCE else without


def _fallback(
    held_out: HeldOut,
    utilities: Utilities,
    experts: Sequence[ExpertCard],
    policy: Policy,
    tokens: ExpectedTokens | None,
) -> str:
    """The expert of highest mean value in the true categories of the uncertain prompts."""
    unsure = held_out.confidence < policy.threshold
    region = held_out.labels[unsure] if unsure.sum() >= MIN_UNSURE else held_out.labels
    mix = np.bincount(region, minlength=len(utilities.by_category)).astype(np.float32)[None, :]
    taken = costs(experts, policy, tokens, mix / mix.sum())[0]
    value = utilities.by_category[region].mean(axis=0) - taken
    return experts[int(value.argmax())].name


def _with_threshold(
    validation: ValidationSet, experts: Sequence[ExpertCard], policy: Policy, max_unsure_share: float
) -> Policy:
    """The largest threshold, with its best fallback, within THRESHOLD_TOLERANCE of the best value."""
    expert_costs = validation.costs(experts, policy)
    best = best_of(validation.expected_scores(policy).held_out - expert_costs, experts)
    net = validation.scores - expert_costs
    rows = np.arange(len(net))
    levels = np.unique(np.quantile(validation.confidence, np.linspace(0, max_unsure_share, 21)))
    tried = []
    for threshold in [0.0, *levels.tolist()]:
        unsure = (validation.confidence < threshold) | (validation.novelty > policy.ood_threshold)
        region = expert_costs[unsure] if unsure.any() else expert_costs
        fallback = int((_shrunk_means(validation.scores, unsure) - region.mean(axis=0)).argmax())
        value = float(np.nanmean(net[rows, np.where(unsure, fallback, best)]))
        tried.append((value, threshold, fallback))
    most = max(value for value, _, _ in tried)
    _, threshold, fallback = [each for each in tried if each[0] >= most - THRESHOLD_TOLERANCE][-1]
    return replace(policy, threshold=float(threshold), generalist=experts[fallback].name)


def widely_scored(scores: Matrix) -> npt.NDArray[np.bool_]:
    """The experts whose mean can stand for all prompts, (experts,): scored on nearly as many as any."""
    counts = (~np.isnan(scores)).sum(axis=0)
    wide: npt.NDArray[np.bool_] = counts >= WIDE * counts.max()
    return wide


def _shrunk_means(scores: Matrix, region: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Mean score of each expert in a region, shrunk to its overall mean."""
    seen = ~np.isnan(scores)
    overall = np.nanmean(scores, axis=0).astype(np.float64)
    count = seen[region].sum(axis=0)
    total = np.where(seen[region], scores[region], 0.0).sum(axis=0)
    means: npt.NDArray[np.float64] = (total + REGION_SHRINKAGE * overall) / (count + REGION_SHRINKAGE)
    return np.where(widely_scored(scores), means, -np.inf)


def _meet_target(
    validation: ValidationSet,
    experts: Sequence[ExpertCard],
    policy: Policy,
    weighted: Callable[[Policy], Policy],
    options: FitOptions,
) -> Policy:
    """The policy of smallest weight whose held-out decisions meet the target, by bisection; the result never
    exceeds the target."""
    if options.target is None:
        raise ValueError("there is no target")
    kind, target = options.target
    known_costs(kind, experts, validation.tokens)

    def at(weight: float) -> tuple[Policy, float]:
        candidate = weighted(with_weight(policy, kind, weight))
        return candidate, validation.mean_cost(kind, experts, candidate)

    free, cost = at(0.0)
    if cost <= target:
        return free
    met, cost = at(MAX_WEIGHT)
    if cost > target:
        raise FitError(
            f"a target of {target:g} {UNITS[kind]} is out of reach: the cheapest decisions take {cost:g}"
        )
    low, high = 0.0, MAX_WEIGHT
    # First the order of magnitude.
    while high > MIN_WEIGHT:
        candidate, cost = at(high / 10)
        if cost > target:
            low = high / 10
            break
        met, high = candidate, high / 10
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        candidate, cost = at(middle)
        if cost > target:
            low = middle
        else:
            met, high = candidate, middle
    return met
