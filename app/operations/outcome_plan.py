"""`coterie outcomes plan`: what a table, or a composition's evidence, says should be scored next."""

from pathlib import Path

import numpy as np

from routers.composition import MANIFEST, load_composition
from routers.evidence import load_evidence
from routers.outcome_table import read_outcomes
from routers.planning import Cells, ScoringPlan, cells_of, plan, table_cells


class PlanError(Exception):
    """Nothing can be planned; the message says why."""


def plan_for(
    source: Path, judgments: int, *, new_prompts: bool | None = None, compute: float | None = None
) -> ScoringPlan:
    """A plan for the outcome table or the composition in `source`.

    `new_prompts` plans beyond the prompts that are there; None does so when these can tell nothing more.
    `compute` bounds the B·tokens of the scores.
    Raises OutcomeError, CompositionError, EvidenceError and PlanError.
    """
    if (source / MANIFEST).exists():
        cells = _of_composition(source)
    else:
        try:
            cells = table_cells(read_outcomes(source))
        except ValueError as error:
            raise PlanError(f"{source}: {error}: score a few prompts with each first") from error
    chosen = cells.for_new_prompts() if _beyond(cells, new_prompts) else cells
    try:
        return plan(chosen, judgments, compute=compute)
    except ValueError as error:
        raise PlanError(f"{source}: {error}: `coterie score` writes them, or leave out --compute") from error


def _beyond(cells: Cells, new_prompts: bool | None) -> bool:
    nothing_left = cells.exhausted
    if new_prompts is False and nothing_left:
        raise PlanError(
            "every prompt is scored by every expert, and how much further answers would differ is not known: "
            "--new-prompts plans for more prompts"
        )
    return nothing_left if new_prompts is None else new_prompts


def _of_composition(folder: Path) -> Cells:
    """The scores that `folder` was fitted on, of the experts that it kept; costs as its policy has them."""
    composition, evidence = load_composition(folder), load_evidence(folder)
    scored = [card for card in composition.experts if card.name in evidence.experts]
    scored_columns = [composition.experts.index(card) for card in scored]
    columns = [evidence.experts.index(card.name) for card in scored]
    if not len(evidence) or not columns:
        raise PlanError(f"{folder} was fitted without any score: plan from an outcome table")
    try:
        return cells_of(
            evidence.scores[:, columns],
            evidence.labels,
            composition.categories,
            scored,
            costs=composition.costs(np.eye(len(composition.categories), dtype=np.float32))[:, scored_columns],
        )
    except ValueError as error:
        raise PlanError(f"{folder}: {error}: score a few prompts with each first") from error
