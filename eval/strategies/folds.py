"""Cross-fitting: a composition is fitted on each fold's training part, as by `coterie fit`; strategies learn
from its cross-validated predictions there and are evaluated on the held-out part.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eval.baselines import best_single, category_choices, kmeans_choices, knn_choices
from routers.batch import choose
from routers.composition import Composition
from routers.encoder import Encoder
from routers.estimate import estimate_table
from routers.evidence import Evidence
from routers.fitting import FitError, FitOptions, Labelled, fit
from routers.fitting.splits import assign_folds
from routers.fitting.stages import StageCache
from routers.request import Matrix
from routers.strategies import State
from routers.strategies.strategy_policy import Ints
from routers.strategy_fitting.recorded_answers import AnswersError, RecordedAnswers
from routers.strategy_fitting.strategy_files import first_state
from routers.strategy_fitting.training_data import StrategyOutcome, TrainingData

INNER_FOLDS = 3
"""Folds of the training part, on which trials of strategies are compared."""

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Fold:
    """Training and held-out part (`rows` of the table); on the latter the column that the router chooses,
    `routed`, and the baselines' choices."""

    fit: TrainingData
    held_out: TrainingData
    categories: tuple[str, ...]
    rows: Ints
    routed: Ints
    baselines: dict[str, Ints]


def choice_outcome(data: TrainingData, choice: Ints) -> StrategyOutcome:
    """One expert per prompt, by column (prompts,)."""
    asked = np.zeros(data.recorded.answers.shape, dtype=np.bool_)
    asked[np.arange(len(data)), choice] = True
    return StrategyOutcome.asked(data, data.recorded.scores_of(choice), asked)


def folds_of(
    data: RecordedAnswers,
    features: Matrix,
    encoder: Encoder,
    *,
    folds: int,
    parts: int,
    options: FitOptions,
    stages: StageCache,
    step: Step,
) -> Iterator[Fold]:
    """The first `parts` of `folds` folds of `data`, scored for every expert; `features` (prompts,
    features). Raises AnswersError when a fold cannot be fitted."""
    table = data.table
    categories = sorted(set(table.categories))
    labels = np.asarray([categories.index(each) for each in table.categories], dtype=np.int64)
    fold_of = assign_folds(table.prompts, labels, folds, options.seed)
    for fold in range(parts):
        rows, others = np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)
        if not len(rows) or not len(others):
            raise AnswersError(f"{len(table)} prompts are too few for {folds} folds: give fewer --folds")
        step(f"part {fold + 1} of {parts}: fitting the composition")
        yield _fold(data, rows, others, features, encoder, options, stages)


def _fold(
    data: RecordedAnswers,
    rows: Ints,
    others: Ints,
    features: Matrix,
    encoder: Encoder,
    options: FitOptions,
    stages: StageCache,
) -> Fold:
    seen, unseen = data.take(others), data.take(rows)
    labelled = Labelled(seen.table.prompts, seen.table.categories, features[others])
    try:
        fitted = fit(labelled, seen.table, encoder, options, scored=np.arange(len(others)), stages=stages)
    except FitError as error:
        raise AnswersError(f"a fold cannot be fitted: {error}") from error
    composition, evidence = fitted.composition, fitted.evidence
    if evidence is None or evidence.posterior is None or evidence.held_out is None:
        raise AnswersError("a fold was fitted without held-out predictions")
    estimate = estimate_table(composition, features[rows])
    policy, sizes = composition.policy, data.sizes
    known = State.begin(evidence.posterior.astype(np.float64), evidence.held_out.astype(np.float64))
    inner = assign_folds(seen.table.prompts, evidence.labels, INNER_FOLDS, options.seed)
    asked = first_state(estimate, policy)
    return Fold(
        TrainingData(seen, known, inner, sizes),
        TrainingData(unseen, asked, np.zeros(len(rows), dtype=np.int64), sizes),
        composition.categories,
        rows,
        choose(composition, policy, estimate).astype(np.int64),
        _baselines(composition, evidence, unseen.table.categories, features[rows, : encoder.dimension]),
    )


def _baselines(
    composition: Composition, evidence: Evidence, truth: Sequence[str], embeddings: Matrix
) -> dict[str, Ints]:
    """The choices of the baselines of `eval.composition_replay`, by column."""
    scores = replace(evidence, held_out=None, posterior=None)
    return {
        "best_single": np.full(len(truth), best_single(scores), dtype=np.int64),
        "knn": knn_choices(scores, embeddings),
        "kmeans": kmeans_choices(scores, embeddings),
        "category_oracle": category_choices(scores, composition.categories, truth),
    }
