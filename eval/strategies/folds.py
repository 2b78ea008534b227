"""Cross-fitting: each part of a table is judged by what was fitted on the others.

A fold is fitted as `coterie fit` fits a table, without the correction by the request unless asked for.
What strategies learn from on the fitting part (categories, expected scores) are the held-out
predictions of that fit, so that they see there what they will see elsewhere.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eval.baselines import best_single, category_choices, kmeans_choices, knn_choices
from eval.strategies.answer_table import Answered, Floats, Ints, StrategyError
from eval.strategies.voting import Ballots
from routers.batch import choose
from routers.composition import Composition, costs
from routers.encoder import Encoder
from routers.estimate import estimate_table
from routers.evidence import Evidence
from routers.features import with_text_parts
from routers.fitting import FitError, FitOptions, Labelled, fit
from routers.fitting.splits import assign_folds
from routers.fitting.stages import StageCache
from routers.request import Matrix

CLIP = 0.02
"""Expected scores are kept this far from 0 and 1 before they become log-odds."""

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Part:
    """Prompts as strategies see them.

    `category` (prompts,) is what stage 1 predicts, `expected` (prompts, experts) the router's expected
    scores, `routed` (prompts,) the expert that it would choose.
    """

    data: Answered
    ballots: Ballots
    category: Ints
    expected: Floats
    routed: Ints

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Fold:
    """The part that was fitted on, the part to judge on, and what the baselines choose for the latter."""

    fit: Part
    held_out: Part
    categories: tuple[str, ...]
    rows: Ints
    """Of `held_out`, in the whole table."""
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
    """The first `parts` of `folds` folds, identical prompts in the same one, fitted one after another.

    `embeddings` (prompts, dimension) of the table's prompts. Raises StrategyError where a fold cannot be
    fitted.
    """
    table = data.table
    categories = sorted(set(table.categories))
    labels = np.asarray([categories.index(each) for each in table.categories], dtype=np.int64)
    fold_of = assign_folds(table.prompts, labels, folds, options.seed)
    features = with_text_parts(embeddings, table.prompts)
    for fold in range(parts):
        rows, others = np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)
        if not len(rows) or not len(others):
            raise StrategyError(f"{len(table)} prompts are too few for {folds} folds: give fewer --folds")
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
        fitted = fit(
            labelled,
            seen.table,
            encoder,
            options,
            scored=np.arange(len(others)),
            stages=stages,
        )
    except FitError as error:
        raise StrategyError(f"a fold cannot be fitted: {error}") from error
    composition, evidence, policy = fitted.composition, fitted.evidence, fitted.composition.policy
    if evidence is None or fitted.validation is None:
        raise StrategyError("a fold was fitted without held-out predictions")
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
) -> Part:
    values = expected.astype(np.float64)
    clipped = np.clip(values, CLIP, 1 - CLIP)
    trust = np.log(clipped / (1 - clipped))
    if routed is None:
        routed = (values - costs(composition.experts, composition.policy)).argmax(axis=1)
    return Part(data, Ballots(data.votes, posterior, trust), posterior.argmax(axis=1), values, routed)


def _baselines(
    composition: Composition, evidence: Evidence, truth: Sequence[str], embeddings: Matrix
) -> dict[str, Ints]:
    """Each baseline that chooses an expert, by column, as in `eval.composition_replay`."""
    scores = replace(evidence, held_out=None)
    return {
        "best_single": np.full(len(truth), best_single(scores), dtype=np.int64),
        "knn": knn_choices(scores, embeddings),
        "kmeans": kmeans_choices(scores, embeddings),
        "category_oracle": category_choices(scores, composition.categories, truth),
    }
