"""Judges the strategies that were fitted for a composition on an outcome table with answers that they have
not seen. The policies that are run are the objects that the service runs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eval.baselines import category_choices, kmeans_choices, knn_choices
from eval.errors import EvalError
from eval.paired_comparison import ScoreDifference, paired_interval
from eval.strategies.folds import choice_outcome
from routers.batch import choose, is_sure
from routers.composition import Composition, CompositionError, load_composition
from routers.decision import FAMILIES, SINGLE
from routers.encoder import Encoder
from routers.estimate import Estimate, estimate_table
from routers.evidence import Evidence, NoEvidence, load_evidence, prompt_digest
from routers.features import features_of_prompts
from routers.request import Matrix
from routers.strategies.fitted_strategies import FittedPolicy, FittedStrategies
from routers.strategies.strategy_policy import Booleans, Ints
from routers.strategy_choice import family_of
from routers.strategy_fitting.recorded_answers import RecordedAnswers, read_recorded
from routers.strategy_fitting.strategy_files import Step, embedding, first_state, unit_costs
from routers.strategy_fitting.training_data import StrategyOutcome, TrainingData

CHOSEN = "composition"
"""The policy of the composition as it is served: a strategy where it names one, else one expert."""


class FittedReplayError(EvalError):
    """The strategies of a folder cannot be judged; the message says why."""


@dataclass(frozen=True, slots=True)
class JudgedPolicy:
    """Means over the prompts: `score` 0..1, `cost` in the `unit` of the budget `within`, active parameters
    (billions), calls; `gains` over baselines by name."""

    id: str
    name: str
    within: float | None
    unit: str
    score: float
    cost: float
    active_params_b: float
    calls: float
    gains: Mapping[str, ScoreDifference]

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        found = {
            name: getattr(self, name)
            for name in ("id", "name", "within", "unit", "score", "cost", "active_params_b", "calls")
        }
        gains = {
            f"minus_{name}": {"difference": each.difference, "low": each.low, "high": each.high}
            for name, each in self.gains.items()
        }
        return {**found, **gains}


@dataclass(frozen=True, slots=True)
class FittedReplay:
    """The result of `coterie strategies replay DIR TABLE`; `baselines`: (score, active parameters)."""

    n: int
    policies: tuple[JudgedPolicy, ...]
    baselines: Mapping[str, tuple[float, float]]
    left_out_seen: int
    left_out_unscored: int

    def document(self) -> dict[str, Any]:
        """For `--json`. Scores 0..1, parameters in billions."""
        return {
            "n": self.n,
            "policies": [each.document() for each in self.policies],
            "baselines": {name: score for name, (score, _) in self.baselines.items()},
            "baselines_active_params_b": {name: active for name, (_, active) in self.baselines.items()},
            "left_out": {"fitted_on": self.left_out_seen, "unscored": self.left_out_unscored},
        }


def replay_fitted(
    folder: Path,
    table: Path,
    encoder: Encoder,
    *,
    allow_seen: bool = False,
    seed: int = 0,
    cache: Path | None = None,
    step: Step = lambda _: None,
) -> FittedReplay:
    """Run every fitted policy of the composition in `folder` over `table`. Prompts that the composition or
    its strategies were fitted on are left out unless `allow_seen`, and those that are not scored for every
    expert. Raises CompositionError, EvidenceError, OutcomeError, AnswersError, FittedReplayError."""
    composition = load_composition(folder)
    strategies = composition.strategies
    if strategies is None:
        raise FittedReplayError(
            f"no strategies were fitted in {folder}: `coterie strategies fit TABLE --composition {folder}`"
        )
    if (composition.encoder, composition.encoder_revision) != (encoder.name, encoder.revision):
        raise CompositionError(f"{folder} was fitted with another encoder: fit it again")
    try:
        evidence: Evidence | None = load_evidence(folder)
    except NoEvidence:
        evidence = None
    step("reading the table")
    recorded = read_recorded(table, embedding(encoder, cache, step)).keep_experts(composition.expert_names)
    recorded = recorded.with_likeness(strategies.likeness)
    scored = recorded.known.all(axis=1)
    seen = _seen(recorded, evidence, strategies) & (not allow_seen)
    rows = np.flatnonzero(scored & ~seen)
    if not len(rows):
        raise FittedReplayError(
            f"nothing to judge on: of {len(recorded)} prompts {int(seen.sum())} were fitted on (--allow-seen "
            f"judges on them), and {int((~scored & ~seen).sum())} are not scored for every expert"
        )
    kept = replace(recorded.take(rows), left_out=recorded.left_out + int((~scored & ~seen).sum()))
    features = features_of_prompts(
        encoder, kept.table.prompts, cache, lambda done, total: step(f"reading prompts: {done} of {total}")
    )
    estimate = estimate_table(composition, features)
    vectors = features[:, : encoder.dimension]
    return _judge(composition, strategies, evidence, kept, estimate, vectors, int(seen.sum()), seed, step)


def _seen(recorded: RecordedAnswers, evidence: Evidence | None, strategies: FittedStrategies) -> Booleans:
    known = {*strategies.prompt_digests, *(() if evidence is None else evidence.prompt_digests)}
    return np.asarray([prompt_digest(prompt) in known for prompt in recorded.table.prompts], dtype=np.bool_)


def _judge(
    composition: Composition,
    strategies: FittedStrategies,
    evidence: Evidence | None,
    recorded: RecordedAnswers,
    estimate: Estimate,
    vectors: Matrix,
    seen: int,
    seed: int,
    step: Step,
) -> FittedReplay:
    state = first_state(estimate, composition.policy, recorded.known)
    data = {
        unit: TrainingData(recorded, state, np.zeros(len(recorded), np.int64), unit_costs(composition, unit))
        for unit in dict.fromkeys(["active", *(each.unit for each in strategies.policies)])
    }
    chosen = choose(composition, composition.policy, estimate).astype(np.int64)
    single = choice_outcome(data["active"], chosen)
    choices = _choices(composition, evidence, recorded, vectors)
    rivals = {
        "single": single,
        **{name: choice_outcome(data["active"], each) for name, each in choices.items()},
    }
    outcomes: dict[str, tuple[FittedPolicy, StrategyOutcome]] = {}
    for policy in strategies.policies:
        step(f"running {policy.id}")
        outcomes[policy.id] = policy, data[policy.unit].run(policy.policy)
    judged = [
        _judged(each.id, each.name, each.within, each.unit, outcome, rivals, seed)
        for each, outcome in outcomes.values()
    ]
    if (served := _served(composition, strategies, estimate, single, outcomes)) is not None:
        judged.append(_judged(CHOSEN, CHOSEN, None, "active", served, rivals, seed))
    return FittedReplay(
        n=len(recorded),
        policies=tuple(judged),
        baselines=_baselines(recorded, rivals),
        left_out_seen=seen,
        left_out_unscored=recorded.left_out,
    )


def _choices(
    composition: Composition, evidence: Evidence | None, recorded: RecordedAnswers, vectors: Matrix
) -> dict[str, Ints]:
    """The choices of the baselines that know the training data alone, by column."""
    rows = len(recorded)
    best = int(composition.global_utilities.argmax())
    found = {"best_single": np.full(rows, best, dtype=np.int64)}
    if evidence is None or not set(composition.expert_names) <= set(evidence.experts):
        return found
    columns = [evidence.experts.index(name) for name in composition.expert_names]
    scores = replace(evidence, scores=evidence.scores[:, columns], held_out=None, posterior=None)
    return {
        **found,
        "knn": knn_choices(scores, vectors),
        "kmeans": kmeans_choices(scores, vectors),
        "category_oracle": category_choices(scores, composition.categories, recorded.table.categories),
    }


def _served(
    composition: Composition,
    strategies: FittedStrategies,
    estimate: Estimate,
    single: StrategyOutcome,
    outcomes: Mapping[str, tuple[FittedPolicy, StrategyOutcome]],
) -> StrategyOutcome | None:
    """What the composition does with each prompt: the strategy of its category where it is sure of one, else
    that for all. None where the policy names no strategy, or one that is no policy and has to be run."""
    policy = composition.policy
    if not {policy.strategy, *policy.strategies.values()} - {SINGLE}:
        return None

    def outcome_of(name: str) -> StrategyOutcome | None:
        fitted = strategies.find(name)
        if fitted is not None:
            return outcomes[fitted.id][1]
        return single if name == SINGLE or family_of(name) in FAMILIES else None

    sure = is_sure(composition.policy, estimate)
    likeliest = estimate.posterior.argmax(axis=1)
    every = outcome_of(policy.strategy)
    if every is None:
        return None
    score, _, active, calls = (column.copy() for column in every.columns())
    for category, name in policy.strategies.items():
        outcome = outcome_of(name)
        if outcome is None:
            return None
        rows = sure & (likeliest == composition.categories.index(category))
        score[rows], active[rows], calls[rows] = (
            each[rows] for each in (outcome.score, outcome.active, outcome.calls)
        )
    return StrategyOutcome(score, active, active, calls)


def _judged(
    id_: str,
    name: str,
    within: float | None,
    unit: str,
    outcome: StrategyOutcome,
    rivals: Mapping[str, StrategyOutcome],
    seed: int,
) -> JudgedPolicy:
    return JudgedPolicy(
        id=id_,
        name=name,
        within=within,
        unit=unit,
        score=float(outcome.score.mean()),
        cost=float(outcome.cost.mean()),
        active_params_b=float(outcome.active.mean()),
        calls=float(outcome.calls.mean()),
        gains={
            rival: paired_interval(outcome.score, rivals[rival].score, seed)
            for rival in ("single", "best_single")
        },
    )


def _baselines(
    recorded: RecordedAnswers, rivals: Mapping[str, StrategyOutcome]
) -> dict[str, tuple[float, float]]:
    # Ties of the oracle go to the smallest expert.
    best = (recorded.scores - 1e-9 * recorded.sizes).argmax(axis=1)
    return {
        "random": (float(recorded.scores.mean()), float(recorded.sizes.mean())),
        **{name: (float(each.score.mean()), float(each.active.mean())) for name, each in rivals.items()},
        "oracle": (float(recorded.scores.max(axis=1).mean()), float(recorded.sizes[best].mean())),
    }
