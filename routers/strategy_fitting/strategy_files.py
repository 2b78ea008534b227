"""Fits the strategies of a composition on an outcome table with answers, into the composition's folder."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from routers.composition import Composition, CompositionError, load_composition, save_composition
from routers.embeddings import encode_cached
from routers.encoder import Encoder
from routers.estimate import Estimate, estimate_table
from routers.evidence import Evidence, EvidenceError, load_evidence, prompt_digest
from routers.features import features_of_prompts
from routers.fitting.splits import assign_folds
from routers.policy import Policy
from routers.request_costs import known_costs
from routers.strategies.fitted_strategies import FittedStrategies, Unit
from routers.strategies.strategy_policy import Booleans, Floats, Ints, State
from routers.strategy_fitting.category_choice import StrategyMap, choose_by_category, with_map
from routers.strategy_fitting.likeness_fit import fit_likeness
from routers.strategy_fitting.recorded_answers import AnswersError, Embed, RecordedAnswers, read_recorded
from routers.strategy_fitting.strategy_fit import MIN_PROMPTS, StrategyOptions, fit_policies
from routers.strategy_fitting.training_data import TrainingData

Step = Callable[[str], None]
FOLDS = 5


@dataclass(frozen=True, slots=True)
class FittedFolder:
    """A composition whose strategies were fitted, and its choice of strategies; None without a budget."""

    composition: Composition
    chosen: StrategyMap | None


def fit_strategies(
    folder: Path,
    table: Path,
    encoder: Encoder,
    options: StrategyOptions,
    *,
    target: float | None = None,
    seed: int = 0,
    cache: Path | None = None,
    step: Step = lambda _: None,
) -> FittedFolder:
    """Fit strategies for the composition in `folder` on `table`, choose among them by category within an
    average cost of `target`, and write them to the folder.

    Prompts that are not scored for every expert are left out: who was not asked there cannot be told from who
    had nothing to say. Those that the composition was fitted on count with what its folds predicted of them.
    Raises CompositionError, EvidenceError, OutcomeError, AnswersError, UnknownCost.
    """
    composition = load_composition(folder)
    evidence = held_out_evidence(folder, composition)
    step("reading the table")
    whole = read_recorded(table, embedding(encoder, cache, step)).keep_experts(composition.expert_names)
    recorded = _complete(whole)
    likeness = fit_likeness(recorded)
    recorded = recorded.with_likeness(likeness)
    state = held_out_state(composition, evidence, recorded, encoder, cache, step)
    data = TrainingData(
        recorded, state, _folds(recorded, state.posterior, seed), unit_costs(composition, options.unit)
    )
    found = fit_policies(data, options, step)
    strategies = FittedStrategies(
        experts=composition.expert_names,
        categories=composition.categories,
        policies=tuple(policy for policy, _ in found),
        prompts=len(recorded),
        prompt_digests=tuple(prompt_digest(prompt) for prompt in recorded.table.prompts),
        likeness=likeness,
    )
    step("choosing by category")
    plain = replace(composition, policy=replace(composition.policy, strategies={}))
    chosen = choose_by_category(plain, data, found, options.unit, target)
    made = with_map(replace(plain, strategies=strategies), chosen, options.unit)
    save_composition(made, folder, evidence, keep_others=True)
    return FittedFolder(load_composition(folder), chosen)


def _complete(whole: RecordedAnswers) -> RecordedAnswers:
    """Raises AnswersError when too few prompts are scored for every expert."""
    found = whole.complete()
    if len(found) < MIN_PROMPTS:
        scores = whole.known.sum(axis=0)
        least = whole.table.expert_names[int(scores.argmin())]
        raise AnswersError(
            f"{len(found)} of {len(whole)} prompts are scored for every expert, fewer than the {MIN_PROMPTS} "
            f"that strategies are fitted on ({least} has {int(scores.min())} scores): score more, or fit a "
            "composition of fewer experts (--only)"
        )
    return found


def embedding(encoder: Encoder, cache: Path | None, step: Step = lambda _: None) -> Embed:
    """Reads replies."""
    return lambda texts: encode_cached(
        encoder, texts, cache, lambda done, total: step(f"reading replies: {done} of {total}")
    )


def held_out_evidence(folder: Path, composition: Composition) -> Evidence | None:
    """The training data with held-out predictions; None for a composition that was fitted without scores.
    Raises CompositionError and EvidenceError."""
    if not composition.manifest.get("evidence"):
        if composition.manifest.get("data", {}).get("scored_prompts"):
            raise EvidenceError(f"{folder} was fitted with --no-evidence: fit it again with its evidence")
        return None
    evidence = load_evidence(folder)
    if evidence.posterior is None or evidence.held_out is None:
        raise CompositionError(f"{folder} holds no predictions of categories by fold: fit it again")
    return evidence


def held_out_state(
    composition: Composition,
    evidence: Evidence | None,
    recorded: RecordedAnswers,
    encoder: Encoder,
    cache: Path | None,
    step: Step,
) -> State:
    """What the composition says of each prompt before it saw it."""
    state = state_of(composition, recorded, encoder, cache, step)
    if evidence is None or evidence.posterior is None or evidence.held_out is None:
        return state
    row_of = {digest: row for row, digest in enumerate(evidence.prompt_digests)}
    there = np.asarray([row_of.get(prompt_digest(prompt), -1) for prompt in recorded.table.prompts])
    seen = np.flatnonzero(there >= 0)
    posterior, expected = state.posterior.copy(), state.expected.copy()
    posterior[seen] = evidence.posterior[there[seen]]
    expected[seen] = evidence.held_out[there[seen]]
    return State.begin(posterior, expected, recorded.known)


def state_of(
    composition: Composition,
    recorded: RecordedAnswers,
    encoder: Encoder,
    cache: Path | None = None,
    step: Step = lambda _: None,
) -> State:
    """What the service knows of each prompt before it asks anybody. Raises CompositionError."""
    if (composition.encoder, composition.encoder_revision) != (encoder.name, encoder.revision):
        raise CompositionError("the composition was fitted with another encoder: fit it again")
    prompts = recorded.table.prompts
    features = features_of_prompts(
        encoder, prompts, cache, lambda done, total: step(f"reading prompts: {done} of {total}")
    )
    return first_state(estimate_table(composition, features), composition.policy, recorded.known)


def first_state(found: Estimate, policy: Policy, available: Booleans | None = None) -> State:
    """What an estimate says of requests before the first call; `available` None: everybody may be asked."""
    return State.begin(found.posterior.astype(np.float64), found.under(policy).astype(np.float64), available)


def unit_costs(composition: Composition, unit: Unit) -> Floats:
    """What a call costs, (experts,) or (categories, experts). Raises UnknownCost."""
    costs = np.asarray(known_costs(unit, composition.experts, composition.tokens), dtype=np.float64)
    return costs[0] if unit == "active" else costs


def _folds(recorded: RecordedAnswers, posterior: Floats, seed: int) -> Ints:
    """The fold of each prompt, (prompts,)."""
    likeliest = posterior.argmax(axis=1).astype(np.int64)
    return np.asarray(assign_folds(recorded.table.prompts, likeliest, FOLDS, seed), dtype=np.int64)
