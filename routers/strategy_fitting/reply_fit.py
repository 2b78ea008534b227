"""Fits strategies that ask one expert, or go from one to the next: routing, cascades, self-selection."""

from collections.abc import Iterator
from itertools import combinations, permutations

import numpy as np

from routers.cascade_model import CascadeModel, CascadeOutcomes, confidences, fit_cascade
from routers.strategies.ask_order import TOLERANCE, costs_of
from routers.strategies.cascade_policies import AgreementCascade, ConfidenceCascade
from routers.strategies.one_reply import SelfSelect, SinglePolicy
from routers.strategies.strategy_policy import Booleans, Floats
from routers.strategy_fitting.training_data import (
    StrategyOutcome,
    StrategyTrial,
    TrainingData,
)

WEIGHTS = 24
POOL = 7
"""Maximum number of experts of which all orders are tried."""
STEPS = 4
PAIRS = 5
"""Experts of which all pairs of a weak and a strong one are tried."""
SHARES = np.linspace(0.1, 0.9, 9)
"""Shares of prompts that a cascade by confidence accepts the weak answer of."""
MIN_ROWS = 50
"""Prompts with signals of an expert that a confidence model needs."""


def single_trials(data: TrainingData, *, limit: float | None = None) -> list[StrategyTrial]:
    """The router's choices over weights on cost."""
    costs = costs_of(data.costs, data.state)
    if limit is not None and (costs > limit * TOLERANCE).all(axis=1).any():
        return []
    spread = np.ptp(data.state.expected, axis=1).mean() / max(float(np.ptp(costs.mean(axis=0))), 1e-12)
    trials, seen = [], set()
    for weight in (0.0, *np.geomspace(spread / 100, spread * 10, WEIGHTS).tolist()):
        policy = SinglePolicy(data.costs, weight, limit)
        outcome = data.run(policy)
        if (key := outcome.score.tobytes() + outcome.cost.tobytes()) not in seen:
            seen.add(key)
            trials.append(StrategyTrial("single", policy, outcome))
    return trials


def agreement_trials(data: TrainingData, *, limit: float | None = None) -> list[StrategyTrial]:
    """Every cascade by agreement of the best experts."""
    dearest = costs_of(data.costs, data.state).max(axis=0)
    return [
        StrategyTrial("cascade", each, data.run(each))
        for each in _cascades(data)
        if limit is None or dearest[list(each.experts)].sum() <= limit * TOLERANCE
    ]


def _cascades(data: TrainingData) -> Iterator[AgreementCascade]:
    """All cascades of the best experts, by score and by score per cost."""
    pool = _pool(data, POOL)
    for expert in pool:
        yield AgreementCascade((expert,), agree=1)
    for steps in range(3, STEPS + 1):
        for experts in permutations(pool, steps):
            # The order of the first two does not matter.
            if experts[0] < experts[1]:
                yield AgreementCascade(experts)


def _pool(data: TrainingData, most: int) -> list[int]:
    means = data.recorded.means
    costs = costs_of(data.costs, data.state).mean(axis=0)
    ranked = [
        np.argsort(-means, kind="stable"),
        np.argsort(-means / np.maximum(costs, 1e-12), kind="stable"),
    ]
    return list(dict.fromkeys(int(each) for pair in zip(*ranked, strict=True) for each in pair))[:most]


def confidence_trials(data: TrainingData, *, limit: float | None = None) -> list[StrategyTrial]:
    """Cascades by confidence of pairs of the best experts; none without log-probabilities."""
    if "mean" not in data.recorded.signals:
        return []
    costs = costs_of(data.costs, data.state)
    means = costs.mean(axis=0)
    trials = []
    for pair in combinations(_pool(data, PAIRS), 2):
        weak, strong = sorted(pair, key=lambda each: means[each])
        if limit is not None and (costs[:, weak] + costs[:, strong]).max() > limit * TOLERANCE:
            continue
        trials += _pair_trials(data, weak, strong, costs)
    return trials


def _pair_trials(data: TrainingData, weak: int, strong: int, costs: Floats) -> list[StrategyTrial]:
    names = data.recorded.table.expert_names
    signal = data.recorded.signals["mean"][:, weak]
    usable = ~np.isnan(signal) & data.recorded.known[:, weak] & data.recorded.known[:, strong]
    if usable.sum() < MIN_ROWS:
        return []

    def model(rows: Booleans) -> CascadeModel:
        at = np.flatnonzero(rows & usable)
        outcomes = CascadeOutcomes(
            {"mean": signal[at]},
            data.recorded.scores[at, weak],
            data.recorded.scores[at, strong],
            costs[at, weak],
            costs[at, strong],
        )
        most = float((costs[:, weak] + costs[:, strong]).max())
        return fit_cascade(names[weak], names[strong], outcomes, most, cost_unit="")

    whole = model(np.ones(len(data), dtype=np.bool_))
    sure = np.full(len(data), np.nan)
    for fold in np.unique(data.fold_of):
        rows = data.fold_of == fold
        sure[rows] = confidences(model(~rows), {"mean": signal[rows]})
    asked = np.zeros(data.recorded.answers.shape, dtype=np.bool_)
    asked[:, weak] = data.recorded.known[:, weak]
    trials = []
    for share in SHARES.tolist():
        threshold = float(np.clip(np.quantile(sure[usable], 1 - share), 0, 1))
        accepted = usable & (sure >= threshold)
        both = asked.copy()
        both[~accepted, strong] = data.recorded.known[~accepted, strong]
        answer = np.where(accepted | ~both[:, strong], weak, strong)
        score = data.recorded.scores_of(answer)
        policy = ConfidenceCascade(
            weak, strong, whole.model_copy(update={"threshold": threshold, "target_cost": None})
        )
        trials.append(StrategyTrial("cascade", policy, StrategyOutcome.asked(data, score, both)))
    return trials


def self_select_trials(data: TrainingData, *, limit: float | None = None) -> list[StrategyTrial]:
    """Self-selection among two or three experts with fitted bias; none without log-probabilities."""
    if "mean" not in data.recorded.signals:
        return []
    signal = data.recorded.signals["mean"]
    known = data.recorded.known & ~np.isnan(signal)
    pool = [each for each in _pool(data, PAIRS) if known[:, each].sum() >= MIN_ROWS]
    dearest = costs_of(data.costs, data.state).max(axis=0)
    every = np.ones(len(data), dtype=np.bool_)
    bias = _bias(data, signal, known, every)
    by_fold = {fold: _bias(data, signal, known, data.fold_of != fold) for fold in np.unique(data.fold_of)}
    trials = []
    for count in (2, 3):
        for experts in combinations(pool, count):
            if limit is not None and dearest[list(experts)].sum() > limit * TOLERANCE:
                continue
            sure = np.full(signal.shape, -np.inf)
            for fold, found in by_fold.items():
                rows = np.flatnonzero(data.fold_of == fold)
                for expert in experts:
                    sure[rows, expert] = np.where(
                        known[rows, expert], signal[rows, expert] + found.get(expert, 0.0), -1e6
                    )
            asked = np.zeros(signal.shape, dtype=np.bool_)
            asked[:, list(experts)] = data.recorded.known[:, list(experts)]
            answer = np.where(asked, sure, -np.inf).argmax(axis=1)
            score = data.recorded.scores_of(np.where(asked.any(axis=1), answer, -1))
            policy = SelfSelect(candidates=experts, bias={each: bias.get(each, 0.0) for each in experts})
            trials.append(StrategyTrial("self_select", policy, StrategyOutcome.asked(data, score, asked)))
    return trials


def _bias(data: TrainingData, signal: Floats, known: Booleans, rows: Booleans) -> dict[int, float]:
    """For each expert what is added to its mean log-probability, so that equal sums are equal chances of
    being right: P(right) = σ(w · (mean log-probability + bias))."""
    from scipy.optimize import minimize
    from scipy.special import expit

    row, expert = np.nonzero(known & rows[:, None])
    if not len(row):
        return {}
    right, mean = data.recorded.scores[row, expert], signal[row, expert]
    experts = signal.shape[1]

    def loss(x: Floats) -> tuple[float, Floats]:
        chance = expit(x[0] * mean + x[1 + expert])
        wrong = chance - right
        nats = -(right * np.log(chance + 1e-12) + (1 - right) * np.log(1 - chance + 1e-12)).sum()
        gradient = np.concatenate([[wrong @ mean], np.bincount(expert, weights=wrong, minlength=experts)])
        return float(nats + 0.5 * (x @ x)), gradient + x

    start = np.zeros(1 + experts)
    start[0] = 1.0
    bounds = [(1e-3, None), *[(None, None)] * experts]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return {each: float(found[1 + each] / found[0]) for each in np.unique(expert).tolist()}
