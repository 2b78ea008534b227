"""Off-policy evaluation of routing policies on logged, explored and rated traffic: inverse propensity scoring
(Horvitz & Thompson 1952), its self-normalised form (SNIPS, Swaminathan & Joachims 2015) and the doubly robust
estimator with the router's expected scores (Dudík, Langford & Li 2011). Other requests are only counted."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from client import RankedExpert
from eval.errors import EvalError
from eval.rating.resampling import interval, resampled_means
from eval.traffic import Logged, reward
from routers.composition import Composition
from routers.decide import RoutingError
from routers.encoder import Encoder
from routers.request import Request
from routers.router import Router

ROUNDS = 2000
CONFIDENCE = 0.95
FEW_EFFECTIVE = 100
"""Effective sample size below which intervals are unreliable."""
LARGE_SHARE = 0.1
"""Share of the total weight above which one request dominates."""

Column = npt.NDArray[np.float64]
Target = Callable[[Logged], str | None]
"""A deterministic target policy: the chosen expert, None if undefined."""


class OffPolicyError(EvalError):
    """The log does not support an estimate; the message says why."""


@dataclass(frozen=True, slots=True)
class Estimated:
    """A value in 0..1 with its 95 % bootstrap interval over requests."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class OffPolicy:
    """One policy's estimates over `n` explored and rated requests.

    `effective`: effective sample size (Σw)²/Σw²; `mean_weight`: 1 in expectation if propensities are right;
    `agrees`: share of requests with the logged expert; `active_params_b`: the policy's mean; `cost`: mean
    expected $ a request, None unknown; `unsupported`: requests with propensity 0 for the policy's expert.
    """

    policy: str
    n: int
    ips: Estimated
    snips: Estimated
    doubly_robust: Estimated
    model: float
    """Direct method: the router's mean expected score, without feedback."""
    effective: float
    mean_weight: float
    agrees: float
    active_params_b: float
    cost: float | None
    unsupported: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OffPolicyReport:
    """All policies' estimates and the log's own statistics."""

    logged: int
    usable: int
    left_out: Mapping[str, int]
    naive: Estimated
    """Mean reward of the rated requests under the logging policy."""
    policies: tuple[OffPolicy, ...]

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def usable(log: Sequence[Logged]) -> tuple[tuple[Logged, ...], Counter[str]]:
    """The explored and rated decisions, and counts of the others by reason."""
    kept, why = [], Counter[str]()
    for each in log:
        if each.status != "ok":
            why["not answered"] += 1
        elif each.strategy != "single":
            why["several experts answered"] += 1
        elif each.propensity is None or each.spilled_from is not None:
            why["not explored (pinned, ruled, sticky, spilled, or exploration was off)"] += 1
        elif reward(each.feedback) is None:
            why["without feedback"] += 1
        elif each.expert not in {choice.expert for choice in each.ranking if choice.excluded is None}:
            why["expert not in its ranking"] += 1
        else:
            kept.append(each)
    return tuple(kept), why


def evaluate(
    log: Sequence[Logged], targets: Mapping[str, Target], *, rounds: int = ROUNDS, seed: int = 0
) -> OffPolicyReport:
    """Estimate every target policy on `log`. Raises OffPolicyError if no request was explored and rated."""
    kept, why = usable(log)
    if len(kept) < 2:
        reasons = "; ".join(f"{count} {reason}" for reason, count in why.most_common()) or "it is empty"
        raise OffPolicyError(
            f"{len(kept)} of {len(log)} decisions can be used ({reasons}). Estimates need requests that were "
            "explored (COTERIE_EXPLORE above 0) and rated (/v1/feedback)"
        )
    rewards = np.asarray([reward(each.feedback) for each in kept], dtype=np.float64)
    naive = bootstrapped(rewards[:, None], lambda means: means[..., 0], rounds, seed)
    policies = [_estimate(name, target, kept, rounds, seed) for name, target in targets.items()]
    return OffPolicyReport(len(log), len(kept), dict(why), naive, tuple(policies))


def as_decided(logged: Logged) -> str | None:
    """The logging policy without exploration."""
    return logged.chosen


def always(expert: str) -> Target:
    """One expert for all requests."""
    return lambda logged: expert


def weighing(active_weight: float) -> Target:
    """The logging policy with another cost weight; unclassified requests stay as logged."""

    def choose(logged: Logged) -> str | None:
        if logged.classification == "unclassified":
            return logged.chosen
        able = [choice for choice in logged.ranking if choice.excluded is None]
        if not able:
            return None
        best = min(
            able,
            key=lambda each: (
                active_weight * each.active_params_b - each.utility - each.correction,
                each.active_params_b,
                each.expert,
            ),
        )
        return best.expert

    return choose


def composition_target(composition: Composition, encoder: Encoder) -> Target:
    """Another composition. Needs logged prompts (`COTERIE_STORE_PROMPTS`): requests without text count as
    unsupported."""
    router = Router(encoder, composition)
    known = set(composition.expert_names)

    def choose(logged: Logged) -> str | None:
        turns = logged.turns
        if turns is None:
            return None
        barred = {choice.expert for choice in logged.ranking if choice.excluded is not None}
        try:
            return router.route(Request(logged.id, turns, exclude=frozenset(barred & known))).expert
        except RoutingError:
            return None

    return choose


def _estimate(name: str, target: Target, kept: Sequence[Logged], rounds: int, seed: int) -> OffPolicy:
    chosen = [target(each) for each in kept]
    rankings = [{choice.expert: choice for choice in each.ranking} for each in kept]
    able = [
        expert is not None and expert in ranking and ranking[expert].excluded is None
        for expert, ranking in zip(chosen, rankings, strict=True)
    ]
    rows = [row for row, yes in enumerate(able) if yes]
    unsupported = len(kept) - len(rows)
    if not rows:
        raise OffPolicyError(
            f"{name}: none of the {len(kept)} requests could have gone to the experts that it would have "
            "asked; a composition reads requests, which the log holds only with COTERIE_STORE_PROMPTS"
        )
    targets = [_of(rankings[row], chosen[row]) for row in rows]
    actual = [_of(rankings[row], kept[row].expert) for row in rows]
    same = np.asarray([kept[row].expert == chosen[row] for row in rows])
    weights = same / np.asarray([kept[row].propensity or 1.0 for row in rows])
    rewards = np.asarray([reward(kept[row].feedback) for row in rows], dtype=np.float64)
    expected = np.asarray([choice.expected for choice in targets])
    residual = weights * (rewards - np.asarray([choice.expected for choice in actual]))
    columns = np.column_stack([weights * rewards, weights, expected + residual])
    ips = bootstrapped(columns, lambda means: means[..., 0], rounds, seed)
    snips = bootstrapped(columns, _ratio, rounds, seed)
    robust = bootstrapped(columns, lambda means: means[..., 2], rounds, seed)
    total = float(weights.sum())
    effective = total**2 / float((weights**2).sum()) if total else 0.0
    found = OffPolicy(
        policy=name,
        n=len(rows),
        ips=ips,
        snips=snips,
        doubly_robust=robust,
        model=float(expected.mean()),
        effective=effective,
        mean_weight=float(weights.mean()),
        agrees=float(same.mean()),
        active_params_b=float(np.mean([choice.active_params_b for choice in targets])),
        cost=_mean_known([choice.cost for choice in targets]),
        unsupported=unsupported,
    )
    return _with_warnings(found, weights)


def _of(ranking: Mapping[str, RankedExpert], expert: str | None) -> RankedExpert:
    return ranking[expert or ""]


def _mean_known(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return float(np.mean(known)) if len(known) == len(costs) else None


def _ratio(means: Column) -> Column:
    """Σwr / Σw; NaN for resamples without weight."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: Column = means[..., 0] / means[..., 1]
    return ratio


def bootstrapped(columns: Column, statistic: Callable[[Column], Column], rounds: int, seed: int) -> Estimated:
    """`statistic` of the columns' means, with its percentile bootstrap interval over requests."""
    low, high = interval(statistic(resampled_means(columns, rounds, seed))[:, None], CONFIDENCE)
    return Estimated(float(statistic(columns.mean(axis=0))), float(low[0]), float(high[0]))


def _with_warnings(found: OffPolicy, weights: Column) -> OffPolicy:
    warnings = []
    if found.effective < FEW_EFFECTIVE:
        warnings.append(
            f"too little overlap: worth {found.effective:.0f} requests of the policy's own, and intervals "
            f"want {FEW_EFFECTIVE}; explore more, or collect more feedback"
        )
    total = float(weights.sum())
    if total and float(weights.max()) / total > LARGE_SHARE:
        warnings.append(f"one request carries {weights.max() / total:.0%} of all weight")
    error = float(weights.std(ddof=1)) / np.sqrt(len(weights)) if len(weights) > 1 else 0.0
    if error and abs(found.mean_weight - 1) > 4 * error:
        warnings.append(
            f"the mean weight is {found.mean_weight:.2f} where 1 is expected: propensities are not those "
            "under which the log was made, or feedback depends on who answered"
        )
    if found.unsupported:
        warnings.append(f"{found.unsupported} requests could not have gone where the policy sends them")
    return replace(found, warnings=tuple(warnings))
