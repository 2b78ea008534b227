"""Cross-fitting: a composition is fitted on each fold's training part, as by `coterie fit`; strategies learn
from its cross-validated predictions there and are evaluated on the held-out part.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eval.baselines import best_single, category_choices, kmeans_choices, knn_choices
from eval.strategies.answer_table import Answered, Floats, Ints, StrategyReplayError
from routers.batch import choose
from routers.composition import Composition
from routers.encoder import Encoder
from routers.estimate import estimate_table
from routers.evidence import Evidence
from routers.features import with_text_parts
from routers.fitting import FitError, FitOptions, Labelled, fit
from routers.fitting.splits import assign_folds
from routers.fitting.stages import StageCache
from routers.request import Matrix
from routers.strategies.vote_model import Ballots

CLIP = 0.02
"""Expected scores are clipped to CLIP..1-CLIP before taking log-odds."""

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class FoldPart:
    """`category` (prompts,) predicted by stage 1, `expected` (prompts, experts) scores, `routed` (prompts,):
    column of the router's choice."""

    data: Answered
    ballots: Ballots
    category: Ints
    expected: Floats
    routed: Ints

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Fold:
    """Training and held-out part (`rows` of the table), and the baselines' choices on the latter."""

    fit: FoldPart
    held_out: FoldPart
    categories: tuple[str, ...]
    rows: Ints
    baselines: dict[str, Ints]


def folds_of(
    data: Answered,
    embeddings: Matrix,
    encoder: Encoder,
    *,
    folds: int,
    parts: int,
    options: FitOptions,
    stages: StageCache,
    step: Step,
) -> Iterator[Fold]:
    """The first `parts` of `folds` folds; `embeddings` (prompts, dimension). Raises StrategyReplayError when
    a fold cannot be fitted."""
    table = data.table
    categories = sorted(set(table.categories))
    labels = np.asarray([categories.index(each) for each in table.categories], dtype=np.int64)
    fold_of = assign_folds(table.prompts, labels, folds, options.seed)
    features = with_text_parts(embeddings, table.prompts)
    for fold in range(parts):
        rows, others = np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)
        if not len(rows) or not len(others):
            raise StrategyReplayError(
                f"{len(table)} prompts are too few for {folds} folds: give fewer --folds"
            )
        step(f"part {fold + 1} of {parts}: fitting the composition")
        yield _fold(data, rows, others, features, embeddings.shape[1], encoder, options, stages)


def _fold(
    data: Answered,
    rows: Ints,
    others: Ints,
    features: Matrix,
    dimension: int,
    encoder: Encoder,
    options: FitOptions,
    stages: StageCache,
) -> Fold:
    seen, unseen = data.take(others), data.take(rows)
    labelled = Labelled(seen.table.prompts, seen.table.categories, features[others])
    try:
        fitted = fit(labelled, seen.table, encoder, options, scored=np.arange(len(others)), stages=stages)
    except FitError as error:
        raise StrategyReplayError(f"a fold cannot be fitted: {error}") from error
    composition, evidence, policy = fitted.composition, fitted.evidence, fitted.composition.policy
    if evidence is None or fitted.validation is None:
        raise StrategyReplayError("a fold was fitted without held-out predictions")
    estimate = estimate_table(composition, features[rows])
    posterior = fitted.held_out.probabilities.astype(np.float64)
    return Fold(
        _part(composition, seen, posterior, fitted.validation.expected_scores(policy).held_out, None),
        _part(
            composition,
            unseen,
            estimate.posterior.astype(np.float64),
            estimate.under(policy),
            choose(composition, policy, estimate),
        ),
        composition.categories,
        rows,
        _baselines(composition, evidence, unseen.table.categories, features[rows, :dimension]),
    )


def _part(
    composition: Composition, data: Answered, posterior: Floats, expected: Matrix, routed: Ints | None
) -> FoldPart:
    values = expected.astype(np.float64)
    clipped = np.clip(values, CLIP, 1 - CLIP)
    trust = np.log(clipped / (1 - clipped))
    if routed is None:
        routed = (values - composition.costs(posterior.astype(np.float32))).argmax(axis=1)
    return FoldPart(data, Ballots(data.votes, posterior, trust), posterior.argmax(axis=1), values, routed)


def _baselines(
    composition: Composition, evidence: Evidence, truth: Sequence[str], embeddings: Matrix
) -> dict[str, Ints]:
    """The choices of the baselines of `eval.composition_replay`, by column."""
    scores = replace(evidence, held_out=None)
    return {
        "best_single": np.full(len(truth), best_single(scores), dtype=np.int64),
        "knn": knn_choices(scores, embeddings),
        "kmeans": kmeans_choices(scores, embeddings),
        "category_oracle": category_choices(scores, composition.categories, truth),
    }
