"""`coterie curve`: a composition's whole quality–cost curve, on its own held-out prompts or on a table."""

from pathlib import Path

import numpy as np

from routers.composition import Composition, CompositionError, load_composition
from routers.cost_curve import CostCurve, CurveBy, CurvePoint, cost_curve
from routers.encoder import Encoder
from routers.estimate import Estimate, estimate_table
from routers.evidence import Evidence, load_evidence
from routers.features import features_of_prompts
from routers.outcome_table import read_outcomes
from routers.request import Matrix
from routers.request_costs import CostKind, cell_costs, known_costs
from routers.strategy_fitting.recorded_answers import ANSWERS, RecordedAnswers, read_recorded
from routers.strategy_fitting.strategy_files import embedding, first_state, unit_costs
from routers.strategy_fitting.training_data import TrainingData

NAMES: dict[CostKind, CurveBy] = {"active": "active_params_b", "cost": "cost", "compute": "compute"}


def held_out_curve(folder: Path, kind: CostKind) -> tuple[CostCurve, int]:
    """The curve by what the fit expected of prompts it had put aside, and their number.

    Raises CompositionError and EvidenceError.
    """
    composition = load_composition(folder)
    evidence = load_evidence(folder)
    if evidence.held_out is None:
        raise CompositionError(f"{folder} was fitted without held-out estimates: give a table instead")
    scores = _columns(evidence, composition)
    # The category of a prompt is known here; its tokens are those of its category.
    posterior = np.eye(len(composition.categories), dtype=np.float32)[evidence.labels]
    costs = _costs(kind, composition, posterior)
    curve = cost_curve(evidence.held_out, scores, composition.experts, NAMES[kind], costs)
    return curve.with_strategies(_fitted_points(composition, kind)), len(evidence)


def table_curve(
    folder: Path,
    table: Path,
    encoder: Encoder,
    kind: CostKind,
    *,
    cache: Path | None = None,
) -> tuple[CostCurve, int, int]:
    """The curve on an outcome table, its number of prompts, and how many of them were fitted on.

    Raises CompositionError, and OutcomeError when the table lacks an expert of the composition.
    """
    composition = load_composition(folder)
    if (composition.encoder, composition.encoder_revision) != (encoder.name, encoder.revision):
        raise CompositionError(f"{folder} was fitted with another encoder: fit it again")
    outcomes = read_outcomes(table).keep_experts(composition.expert_names)
    found = estimate_table(composition, features_of_prompts(encoder, outcomes.prompts, cache))
    costs = _costs(kind, composition, found.posterior)
    paid = cell_costs(
        kind, outcomes.experts, composition.tokens, found.posterior, outcomes.tokens_in, outcomes.tokens_out
    )
    seen = 0
    if composition.manifest.get("evidence"):
        seen = int((~load_evidence(folder).unseen(outcomes.prompts)).sum())
    curve = cost_curve(
        found.under(composition.policy),
        outcomes.scores,
        composition.experts,
        NAMES[kind],
        costs,
        np.where(np.isnan(paid), costs, paid),
    )
    if composition.strategies is not None and (table / ANSWERS).exists():
        recorded = read_recorded(table, embedding(encoder, cache)).keep_experts(composition.expert_names)
        place = {uid: row for row, uid in enumerate(outcomes.uids)}
        rows = np.asarray([place[uid] for uid in recorded.table.uids], dtype=np.int64)
        curve = curve.with_strategies(_points_on(composition, recorded, found.take(rows), kind))
    return curve, len(outcomes), seen


def _fitted_points(composition: Composition, kind: CostKind) -> list[CurvePoint]:
    """What the fit of the strategies says of them, where it knows what they cost in this unit."""
    strategies = composition.strategies
    return [
        CurvePoint(0.0, each.evidence.active_params_b, each.evidence.score, each.id)
        if kind == "active"
        else CurvePoint(0.0, each.evidence.cost, each.evidence.score, each.id)
        for each in (strategies.policies if strategies else ())
        if kind in ("active", each.unit)
    ]


def _points_on(
    composition: Composition, recorded: RecordedAnswers, found: Estimate, kind: CostKind
) -> list[CurvePoint]:
    """What the strategies do with recorded answers."""
    strategies = composition.strategies
    if strategies is None:
        return []
    state = first_state(found, composition.policy, recorded.known)
    folds = np.zeros(len(recorded), dtype=np.int64)
    recorded = recorded.with_likeness(strategies.likeness)
    data = TrainingData(recorded, state, folds, unit_costs(composition, kind))
    points = []
    for each in strategies.policies:
        outcome = data.run(each.policy)
        points.append(CurvePoint(0.0, float(outcome.cost.mean()), float(outcome.score.mean()), each.id))
    return points


def _costs(kind: CostKind, composition: Composition, posterior: Matrix) -> Matrix:
    """What requests are expected to take, (prompts, experts). Raises UnknownCost."""
    of_category = known_costs(kind, composition.experts, composition.tokens)
    if kind == "active":
        return np.broadcast_to(of_category, (len(posterior), len(composition.experts)))
    found: Matrix = posterior @ of_category
    return found


def _columns(evidence: Evidence, composition: Composition) -> Matrix:
    """The scores of the composition's experts, in its order."""
    columns = [evidence.experts.index(name) for name in composition.expert_names if name in evidence.experts]
    if len(columns) != len(composition.experts):
        raise CompositionError("experts were added after the fit: give a table that scores them")
    scores: Matrix = np.ascontiguousarray(evidence.scores[:, columns])
    return scores
