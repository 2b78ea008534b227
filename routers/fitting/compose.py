"""The whole fit: stage 1, utilities, correction, budget, policy and their held-out metrics."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from routers.calibration import expected_calibration_error, risk_coverage
from routers.composition import Composition, ExpertCard
from routers.correction import contrasts
from routers.encoder import Encoder
from routers.evidence import Evidence, prompt_digest
from routers.fitting.corrections import CorrectionFit, fit_correction, held_out_utilities
from routers.fitting.fit_options import FitError, FitOptions, Labelled
from routers.fitting.policy_fit import ExpectedScores, ValidationSet, fit_policy, widely_scored
from routers.fitting.splits import FOLDS, Index, assign_folds, distinct_prompts
from routers.fitting.stage1 import HeldOut, Stage1, choose_classifier
from routers.fitting.stages import StageCache
from routers.mapping import ExpertMap, solve_map
from routers.novelty import Novelty, fit_prototypes, fit_quantiles
from routers.outcome_table import OutcomeTable
from routers.policy import Policy
from routers.request_costs import (
    CostKind,
    ExpectedTokens,
    UnknownCost,
    cell_costs,
    costs,
    known_costs,
)
from routers.token_estimates import estimate_tokens, token_cells
from routers.utilities import Utilities, bases_of, estimate_with_arms, prior_utilities


@dataclass(frozen=True, slots=True)
class Fit:
    """A composition with its training data and cross-validated predictions; `evidence`, `validation` and
    `correction` are None without scored prompts among the labelled ones."""

    composition: Composition
    held_out: HeldOut
    evidence: Evidence | None = None
    validation: ValidationSet | None = None
    correction: CorrectionFit | None = None


def fit(
    labelled: Labelled,
    table: OutcomeTable,
    encoder: Encoder,
    options: FitOptions,
    *,
    scored: Index | None = None,
    stages: StageCache | None = None,
) -> Fit:
    """Fit stage 1 on `labelled` and stage 2 on `table`.

    `scored`: the rows of `labelled` that are the table's, in its order; needed to fit the correction and to
    choose the policy by scores. A table without rows gives `prior_utilities`. Raises FitError, also for
    categories of `table` that `labelled` lacks, and mapping.BudgetTooSmall.
    """
    stages = stages or StageCache()
    categories = tuple(sorted(set(labelled.categories)))
    index = {name: row for row, name in enumerate(categories)}
    labels = np.asarray([index[name] for name in labelled.categories], dtype=np.int64)
    _check(labelled, table, labels, categories)
    folds = assign_folds(labelled.prompts, labels, seed=options.seed)
    if scored is not None and len(table):
        _check_folds(table, folds[scored])
    stage1 = choose_classifier(
        labelled.features, labels, len(categories), folds, options.classifier, options.seed, stages
    )
    stages.step("utilities", 0, 1)
    rows = np.asarray([index[each] for each in table.categories], dtype=np.int64)
    found, utilities = _within_budget(table, rows, labels, len(categories), options)
    residency = None
    if found is not None:
        names = table.expert_names
        kept = [names[column] for column in found.kept]
        if options.switching is not None:
            loaded = [names[column] for column in found.loaded]
            residency = {"loaded": loaded, "switches_per_request": round(found.switches, 4)}
            price = options.switching.per_request
            costs_of = {names[column]: price * found.brings[column] for column in found.kept}
            woken = {name: cost for name, cost in costs_of.items() if cost}
            options = replace(options, wake_costs=woken)
    else:
        kept = list(table.expert_names)
    whole, table = table, table.keep_experts(kept)
    tokens = estimate_tokens(table.tokens_in, table.tokens_out, rows, len(categories))
    novelty = Novelty(fit_prototypes(labelled.features, options.seed), fit_quantiles(stage1.held_out.novelty))
    correction, validation, evidence = None, None, None
    if scored is not None and len(table):
        correction = _correct(labelled, table, rows, scored, folds, stage1, encoder, options, stages)
        validation = _validation_set(table, scored, stage1.held_out, correction, utilities, tokens)
    try:
        policy = fit_policy(stage1.held_out, utilities, table.experts, options, validation, tokens)
    except UnknownCost as error:
        raise FitError(str(error)) from error
    if correction is not None and not policy.trust:
        correction = replace(correction, correction=None, why="it does not improve held-out decisions")
        policy = replace(policy, trust=1.0)
        validation = replace(validation, corrected=validation.by_category) if validation else None
    if scored is not None and validation is not None:
        evidence = Evidence(
            embeddings=labelled.features[scored, : encoder.dimension],
            scores=whole.scores,
            labels=rows,
            prompt_digests=tuple(prompt_digest(prompt) for prompt in whole.prompts),
            experts=whole.expert_names,
            held_out=validation.expected_scores(policy).held_out,
            posterior=validation.posterior,
        )
    stages.step("classifier", 0, 1)
    composition = Composition(
        digest="",
        categories=categories,
        experts=table.experts,
        classifier_name=stage1.name,
        classifier=stage1.fit(labelled.features, labels),
        temperature=stage1.temperature,
        novelty=novelty,
        utilities=utilities.by_category,
        errors=utilities.errors,
        counts=utilities.counts,
        global_utilities=utilities.overall,
        policy=policy,
        tokens=tokens,
        encoder=encoder.name,
        encoder_revision=encoder.revision,
        correction=correction.correction if correction else None,
        manifest=_manifest(labelled, table, stage1, utilities, policy, options, correction, validation)
        | ({} if residency is None else {"residency": residency}),
    )
    return Fit(composition, stage1.held_out, evidence, validation, correction)


def _check(labelled: Labelled, table: OutcomeTable, labels: Index, categories: Sequence[str]) -> None:
    counts = distinct_prompts(labelled.prompts, labels, len(categories))
    few = [name for name, count in zip(categories, counts, strict=True) if count < FOLDS]
    if len(categories) < 2 or few:
        shown = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
        raise FitError(
            f"stage 1 needs at least two categories with {FOLDS} different prompts each"
            + (f": too few of {shown}" if few else "")
            + "; `--categories auto` finds categories of its own"
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


def _check_folds(table: OutcomeTable, folds: Index) -> None:
    """Raises FitError unless every expert has scores in at least two folds."""
    known = ~np.isnan(table.scores)
    few = [
        name for column, name in enumerate(table.expert_names) if len(np.unique(folds[known[:, column]])) < 2
    ]
    if few:
        raise FitError(
            f"too few scores of {', '.join(few)} to hold some out: score more prompts with them, "
            "or fit without them (`--only`)"
        )


def _within_budget(
    table: OutcomeTable, rows: Index, labels: Index, categories: int, options: FitOptions
) -> tuple[ExpertMap | None, Utilities]:
    """The map that says which experts are within the budgets, None without any, and the utilities of
    these."""
    if len(table):
        utilities = estimate_with_arms(table.scores, rows, categories, bases_of(table.experts))
    else:
        utilities = prior_utilities(table.experts, categories)
    if options.resident_budget_b is None and options.switching is None:
        return None, utilities
    policy = options.weighted(Policy(generalist=table.expert_names[0]))
    tokens = estimate_tokens(table.tokens_in, table.tokens_out, rows, categories)
    shares = np.bincount(rows if len(rows) else labels, minlength=categories).astype(np.float32)
    try:
        taken = costs(table.experts, policy, tokens, np.eye(categories, dtype=np.float32))
        targets = []
        if options.target is not None:
            kind, limit = options.target
            targets.append((known_costs(kind, table.experts, tokens), limit))
    except UnknownCost as error:
        raise FitError(str(error)) from error
    found = solve_map(
        utilities.by_category,
        table.experts,
        shares / shares.sum(),
        taken,
        options.resident_budget_b,
        targets=targets,
        switching=options.switching,
    )
    columns = list(found.kept)
    return found, replace(
        utilities,
        by_category=utilities.by_category[:, columns],
        errors=utilities.errors[:, columns],
        counts=utilities.counts[:, columns],
        overall=utilities.overall[columns],
    )


def _correct(
    labelled: Labelled,
    table: OutcomeTable,
    rows: Index,
    scored: Index,
    folds: Index,
    stage1: Stage1,
    encoder: Encoder,
    options: FitOptions,
    stages: StageCache,
) -> CorrectionFit:
    posterior = stage1.held_out.probabilities[scored]
    category = held_out_utilities(table.scores, rows, posterior, folds[scored], bases_of(table.experts))
    if options.correction is False:
        return CorrectionFit(None, category, category, 0.0, 0.0, (), {}, "it was not asked for")
    return fit_correction(
        labelled.features[scored],
        encoder.dimension,
        table.scores,
        posterior,
        category,
        np.asarray([card.active_params_b for card in table.experts], dtype=np.float32),
        folds[scored],
        bases=bases_of(table.experts),
        seed=options.seed,
        cores=options.cores,
        stages=stages,
    )


def _validation_set(
    table: OutcomeTable,
    scored: Index,
    held_out: HeldOut,
    correction: CorrectionFit,
    utilities: Utilities,
    tokens: ExpectedTokens | None,
) -> ValidationSet:
    step = contrasts(held_out.probabilities[scored] @ utilities.by_category - correction.category)
    corrected = by_category = ExpectedScores(correction.category, correction.category + step)
    if correction.correction is not None:
        kept = step @ correction.correction.category
        corrected = ExpectedScores(correction.corrected, correction.corrected + kept)
    return ValidationSet(
        by_category,
        corrected,
        table.scores,
        held_out.confidence[scored],
        held_out.novelty_quantiles[scored].astype(np.float32),
        held_out.probabilities[scored],
        tokens,
    )


def _manifest(
    labelled: Labelled,
    table: OutcomeTable,
    stage1: Stage1,
    utilities: Utilities,
    policy: Policy,
    options: FitOptions,
    correction: CorrectionFit | None,
    validation: ValidationSet | None,
) -> dict[str, Any]:
    """Data counts, options and metrics for the manifest."""
    facts: dict[str, Any] = {
        "data": {
            "labelled_prompts": len(labelled.prompts),
            "scored_prompts": len(table),
            "scores_per_expert": {
                card.name: int((~np.isnan(table.scores[:, column])).sum())
                for column, card in enumerate(table.experts)
            },
            "prompts_per_category": dict(sorted(Counter(labelled.categories).items())),
            "utilities": "scored" if len(table) else "a guess by size: nothing was scored",
            "tokens": token_cells(table).sentence(),
            "shrinkage_k": round(utilities.shrinkage, 2) if len(table) else None,
        },
        "options": {
            "classifier": options.classifier,
            "sure_accuracy": options.sure_accuracy,
            "novel_quantile": options.novel_quantile,
            "target_active_b": options.target_active_b,
            "target_cost": options.target_cost,
            "target_compute": options.target_compute,
            "resident_budget_b": options.resident_budget_b,
            "loaded_b": options.loaded_b,
            "wake_s": options.wake_s,
            "wake_weight": options.wake_weight,
            "run": options.run,
            "correction": options.correction,
            "seed": options.seed,
        },
        "held_out": _stage1_metrics(stage1, policy),
    }
    if validation is not None:
        facts["held_out"] |= _policy_metrics(validation, table.experts, policy)
    if correction is not None:
        facts["correction"] = {
            "kept": correction.correction is not None,
            "why": correction.why,
            "gain": round(correction.gain, 6),
            "error": round(correction.error, 6),
            "explained": {gain.name: round(gain.explained, 4) for gain in correction.gains},
            **correction.chosen,
        }
    return facts


def _stage1_metrics(stage1: Stage1, policy: Policy) -> dict[str, Any]:
    held_out = stage1.held_out
    sure = (held_out.confidence >= policy.threshold) & (held_out.novelty_quantiles <= policy.ood_threshold)
    return {
        "folds": FOLDS,
        "accuracy": round(float(held_out.correct.mean()), 4),
        "log_loss": {name: round(loss, 4) for name, loss in stage1.losses.items()},
        "ece": round(expected_calibration_error(held_out.confidence, held_out.correct), 4),
        "aurc": round(risk_coverage(held_out.confidence, held_out.correct).area, 4),
        "coverage": round(float(sure.mean()), 4),
        "accuracy_when_sure": round(float(held_out.correct[sure].mean()), 4) if sure.any() else None,
    }


def _policy_metrics(
    validation: ValidationSet, experts: Sequence[ExpertCard], policy: Policy
) -> dict[str, Any]:
    """Held-out score and cost of the policy's decisions, with the best single expert and the oracle."""
    chosen = validation.choices(experts, policy)
    complete = ~np.isnan(validation.scores).any(axis=1)
    means = np.nanmean(validation.scores, axis=0)
    best = int(np.where(widely_scored(validation.scores), means, -np.inf).argmax())
    rows = np.arange(len(chosen))
    paired = validation.scores[rows, chosen] - validation.scores[:, best]
    paired = paired[~np.isnan(paired)]
    return {
        "score": round(validation.score(chosen), 4),
        "active_params_b": _rounded_mean([card.active_params_b for card in experts], chosen, 3),
        **_mean_costs(validation, experts, chosen),
        "best_single": {"expert": experts[best].name, "score": round(float(means[best]), 4)},
        "gain_over_best_single": round(float(paired.mean()), 4) if len(paired) else None,
        "gain_error": round(float(paired.std(ddof=1) / np.sqrt(len(paired))), 4) if len(paired) > 1 else None,
        "oracle": round(float(validation.scores[complete].max(axis=1).mean()), 4) if complete.any() else None,
        "shares": {
            card.name: round(float((chosen == column).mean()), 4) for column, card in enumerate(experts)
        },
    }


def _mean_costs(
    validation: ValidationSet, experts: Sequence[ExpertCard], chosen: Index
) -> dict[str, float | None]:
    """Expected $ and B·tokens of the decisions, None when unknown of an expert that decides."""
    found: dict[str, float | None] = {}
    kinds: tuple[CostKind, ...] = ("cost", "compute")
    for kind in kinds:
        each = cell_costs(kind, experts, validation.tokens, validation.posterior)
        mean = float(each[np.arange(len(chosen)), chosen].mean())
        found[kind] = None if np.isnan(mean) else float(f"{mean:.4g}")
    return found


def _rounded_mean(values: Sequence[float], chosen: Index, digits: int) -> float:
    return round(float(np.asarray(values, dtype=np.float64)[chosen].mean()), digits)
