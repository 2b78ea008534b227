"""From labelled prompts and an outcome table to a composition, with held-out evidence.

Everything that is chosen (classifier, temperature, thresholds, generalist) is chosen on predictions
for prompts that the predicting classifier has not seen (5 folds); the classifier that is kept is then
fitted on all of them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from routers.calibration import (
    expected_calibration_error,
    fit_temperature,
    risk_coverage,
    softmax,
    threshold_for_accuracy,
)
from routers.classifiers import CLASSIFIERS, Classifier
from routers.composition import Composition, ExpertCard, costs
from routers.encoder import Encoder
from routers.mapping import solve_map
from routers.novelty import Novelty, fit_prototypes, fit_quantiles
from routers.outcomes import OutcomeTable
from routers.policy import Policy
from routers.request import Matrix, Vector
from routers.utilities import Utilities, estimate_utilities, prior_utilities

FOLDS = 5
FEWEST_UNSURE = 20
"""Unsure held-out prompts needed to choose the generalist among them and not overall."""


class FitError(Exception):
    """The data cannot be fitted; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Prompts with their categories and features (prompts, features)."""

    prompts: tuple[str, ...]
    categories: tuple[str, ...]
    features: Matrix


@dataclass(frozen=True, slots=True)
class FitOptions:
    """`classifier`: a name of CLASSIFIERS or "auto". `sure_accuracy`: share of the calls made as
    `matched` that shall be right on held-out prompts. `novel_quantile`: share of held-out prompts
    that may be nearer than the out-of-distribution limit. The rest as in `routers.policy.Policy`.
    """

    classifier: str = "auto"
    sure_accuracy: float = 0.85
    novel_quantile: float = 0.99
    active_weight: float = 0.0
    price_weight: float = 0.0
    resident_budget_b: float | None = None
    switch_cost: float = 0.02
    seed: int = 0


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Calibrated predictions on prompts that the classifier had not seen."""

    probabilities: Matrix
    labels: npt.NDArray[np.int64]
    novelty: Vector

    @property
    def confidence(self) -> Vector:
        best: Vector = self.probabilities.max(axis=1)
        return best

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        right: npt.NDArray[np.bool_] = self.probabilities.argmax(axis=1) == self.labels
        return right


def fit_composition(
    labelled: Labelled, table: OutcomeTable, encoder: Encoder, options: FitOptions
) -> Composition:
    """Fit stage 1 on `labelled` and stage 2 on `table`.

    The categories are those of `labelled`; rows of `table` in other categories are an error. A table
    without rows gives utilities by `prior_utilities`. Raises
    FitError, or mapping.BudgetTooSmall.
    """
    categories = tuple(sorted(set(labelled.categories)))
    index = {name: row for row, name in enumerate(categories)}
    _check(labelled, table, categories)
    labels = np.asarray([index[name] for name in labelled.categories], dtype=np.int64)
    name, temperature, held_out, losses = _choose_classifier(
        labelled.features, labels, len(categories), options
    )
    prototypes = fit_prototypes(labelled.features, options.seed)
    novelty = Novelty(prototypes, fit_quantiles(held_out.novelty))
    if len(table):
        rows = np.asarray([index[each] for each in table.categories])
        utilities = estimate_utilities(table.scores, rows, len(categories))
    else:
        utilities = prior_utilities(table.experts, len(categories))
    policy = _fit_policy(held_out, utilities, table.experts, options)
    kept = _kept(utilities, table.experts, policy, labels, options)
    experts = tuple(table.experts[column] for column in kept)
    if policy.generalist not in {card.name for card in experts}:
        narrowed = _narrow(utilities, kept)
        policy = _fit_policy(held_out, narrowed, experts, options)
    utilities = _narrow(utilities, kept)
    return Composition(
        digest="",
        categories=categories,
        experts=experts,
        classifier_name=name,
        classifier=_fit_classifier(name, labelled.features, labels, len(categories)),
        temperature=temperature,
        novelty=novelty,
        utilities=utilities.by_category,
        errors=utilities.errors,
        counts=utilities.counts,
        global_utilities=utilities.overall,
        policy=policy,
        encoder=encoder.name,
        encoder_revision=encoder.revision,
        manifest=_evidence(labelled, table, held_out, losses, utilities, policy, options),
    )


def _check(labelled: Labelled, table: OutcomeTable, categories: Sequence[str]) -> None:
    few = [name for name, count in Counter(labelled.categories).items() if count < FOLDS]
    if len(categories) < 2 or few:
        raise FitError(
            f"stage 1 needs at least two categories with {FOLDS} prompts each"
            + (f": too few of {', '.join(sorted(few))}" if few else "")
        )
    unknown = sorted(set(table.categories) - set(categories))
    if len(table):
        blank = np.flatnonzero(np.isnan(table.scores).all(axis=0))
        if unscored := [table.expert_names[int(column)] for column in blank]:
            raise FitError(
                f"the outcome table has no score of {', '.join(unscored)}: score some prompts with "
                "them, or fit without them"
            )
    if unknown:
        raise FitError(f"the outcome table has categories without labelled prompts: {', '.join(unknown)}")


def _fit_classifier(
    name: str, features: Matrix, labels: npt.NDArray[np.int64], categories: int
) -> Classifier:
    return CLASSIFIERS[name].fit(features, labels, categories)


def _choose_classifier(
    features: Matrix, labels: npt.NDArray[np.int64], categories: int, options: FitOptions
) -> tuple[str, float, HeldOut, dict[str, float]]:
    """The classifier of least held-out log-loss after calibration, with its held-out predictions."""
    from sklearn.model_selection import StratifiedKFold

    names = list(CLASSIFIERS) if options.classifier == "auto" else [options.classifier]
    unknown = [name for name in names if name not in CLASSIFIERS]
    if unknown:
        raise FitError(f"no classifier {unknown[0]!r}: choose auto, {', '.join(CLASSIFIERS)}")
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=options.seed).split(features, labels))
    novelty = np.zeros(len(labels), dtype=np.float32)
    for fit, held in folds:
        seen = Novelty(fit_prototypes(features[fit], options.seed), np.zeros(2, dtype=np.float32))
        novelty[held] = seen.distances(features[held])
    best: tuple[str, float, HeldOut] | None = None
    losses: dict[str, float] = {}
    for name in names:
        logits = np.zeros((len(labels), categories), dtype=np.float32)
        for fit, held in folds:
            logits[held] = _fit_classifier(name, features[fit], labels[fit], categories).logits(
                features[held]
            )
        temperature = fit_temperature(logits, labels)
        held_out = HeldOut(softmax(logits, temperature), labels, novelty)
        chosen = held_out.probabilities[np.arange(len(labels)), labels]
        losses[name] = float(-np.log(np.maximum(chosen, 1e-12)).mean())
        if best is None or losses[name] < losses[best[0]]:
            best = (name, temperature, held_out)
    if best is None:
        raise FitError("no classifier was given")
    return *best, losses


def _fit_policy(
    held_out: HeldOut, utilities: Utilities, experts: Sequence[ExpertCard], options: FitOptions
) -> Policy:
    policy = Policy(
        generalist=experts[0].name,
        threshold=threshold_for_accuracy(held_out.confidence, held_out.correct, options.sure_accuracy),
        ood_threshold=options.novel_quantile,
        active_weight=options.active_weight,
        price_weight=options.price_weight,
        switch_cost=options.switch_cost,
    )
    unsure = held_out.confidence < policy.threshold
    # What the experts are worth in the categories that unsure prompts really came from.
    region = held_out.labels[unsure] if unsure.sum() >= FEWEST_UNSURE else held_out.labels
    worth = utilities.by_category[region].mean(axis=0) - costs(experts, policy)
    return replace(policy, generalist=experts[int(worth.argmax())].name)


def _kept(
    utilities: Utilities,
    experts: Sequence[ExpertCard],
    policy: Policy,
    labels: npt.NDArray[np.int64],
    options: FitOptions,
) -> tuple[int, ...]:
    if options.resident_budget_b is None:
        return tuple(range(len(experts)))
    shares = np.bincount(labels, minlength=len(utilities.by_category)).astype(np.float32)
    return solve_map(
        utilities.by_category,
        experts,
        shares / shares.sum(),
        costs(experts, policy),
        options.resident_budget_b,
    ).kept


def _narrow(utilities: Utilities, kept: Sequence[int]) -> Utilities:
    columns = list(kept)
    return Utilities(
        utilities.by_category[:, columns],
        utilities.errors[:, columns],
        utilities.counts[:, columns],
        utilities.overall[columns],
        utilities.shrinkage,
    )


def _evidence(
    labelled: Labelled,
    table: OutcomeTable,
    held_out: HeldOut,
    losses: dict[str, float],
    utilities: Utilities,
    policy: Policy,
    options: FitOptions,
) -> dict[str, Any]:
    sure = (held_out.confidence >= policy.threshold) & (
        np.searchsorted(np.sort(held_out.novelty), held_out.novelty) / len(held_out.novelty)
        <= policy.ood_threshold
    )
    return {
        "data": {
            "labelled_prompts": len(labelled.prompts),
            "scored_prompts": len(table),
            "scores_per_expert": {
                card.name: int((~np.isnan(table.scores[:, column])).sum())
                for column, card in enumerate(table.experts)
            },
            "utilities": "scored" if len(table) else "a guess by size: nothing was scored",
            "shrinkage_k": round(utilities.shrinkage, 2) if len(table) else None,
        },
        "options": {
            "classifier": options.classifier,
            "sure_accuracy": options.sure_accuracy,
            "novel_quantile": options.novel_quantile,
            "resident_budget_b": options.resident_budget_b,
            "seed": options.seed,
        },
        "held_out": {
            "folds": FOLDS,
            "accuracy": round(float(held_out.correct.mean()), 4),
            "log_loss": {name: round(loss, 4) for name, loss in losses.items()},
            "ece": round(expected_calibration_error(held_out.confidence, held_out.correct), 4),
            "aurc": round(risk_coverage(held_out.confidence, held_out.correct).area, 4),
            "coverage": round(float(sure.mean()), 4),
            "accuracy_when_sure": round(float(held_out.correct[sure].mean()), 4) if sure.any() else None,
        },
    }
