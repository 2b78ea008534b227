"""`coterie experts add`: put a new expert into a composition, from scored prompts or a description.

Joins what `routers` must not know (seed prompts and definitions of categories) with its estimates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from prompts.seeds import load_categories, load_seeds
from routers.calibration import softmax
from routers.composition import Composition, ExpertCard, load_composition, save_composition
from routers.encoder import Encoder
from routers.evidence import Evidence, EvidenceError, load_evidence, prompt_digest
from routers.features import features_of
from routers.fingerprints import FILE as FINGERPRINTS
from routers.fingerprints import (
    FingerprintError,
    Fingerprints,
    fingerprints_of,
    load_fingerprints,
    write_fingerprints,
)
from routers.new_expert import (
    AddExpertError,
    DescriptionSimilarity,
    ScoredPrompts,
    UtilityRow,
    estimate_row,
    extend_composition,
)
from routers.outcome_table import OutcomeTable
from routers.request import Matrix, Vector

SEEDS = 8
"""Seed prompts of each category that a description is compared with, beside the definition."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The composition as it was written, and the new expert's row of utilities."""

    composition: Composition
    row: UtilityRow


def add_expert(
    folder: Path, out: Path, card: ExpertCard, encoder: Encoder, table: OutcomeTable | None = None
) -> Joined:
    """Write the composition of `folder` with `card` as one more expert to `out`.

    `table` holds its scores in a column of its name; the other experts' there make the estimate
    better, and so does a description on the card. Raises AddExpertError (also where the composition cannot
    keep the table's prompts out of later reports) and CompositionError.
    """
    composition = load_composition(folder)
    mine, fitted = (encoder.name, encoder.revision), (composition.encoder, composition.encoder_revision)
    if mine != fitted:
        raise AddExpertError(f"the composition was fitted with the encoder {' '.join(fitted)}: fit it again")
    if card.base is not None and card.base not in composition.expert_names:
        raise AddExpertError(f"{card.name} builds on {card.base}, which the composition does not have")
    if table is None and not card.description:
        raise AddExpertError("nothing is known of it: give --scores, --description, or both")
    fingerprints = _fingerprints(folder, table)
    evidence = _evidence(folder)
    scored = None if table is None else _scored(composition, card.name, encoder, table, evidence)
    likeness = _likeness(composition, card, encoder) if card.description else None
    row = estimate_row(composition.experts, composition.utilities, card, scored, likeness)
    source: dict[str, Any] = {
        "from": [
            *([] if scored is None else ["scored prompts"]),
            *([] if likeness is None else ["description"]),
        ],
        "before": composition.digest,
    }
    joined = extend_composition(composition, card, row, source)
    if evidence is not None:
        evidence = _extended(evidence, card.name, row, table)
    save_composition(joined, out, evidence)
    if fingerprints is not None:
        further = () if table is None else table.prompts
        vectors = encoder.encode(further) if len(further) and fingerprints.vectors.shape[1] else None
        write_fingerprints(out, fingerprints.concatenate(fingerprints_of(further, vectors)))
    return Joined(load_composition(out), row)


def _scored(
    composition: Composition, name: str, encoder: Encoder, table: OutcomeTable, evidence: Evidence | None
) -> ScoredPrompts:
    """The prompts of `table` that the new expert answered, with the other experts' scores on them."""
    if name not in table.expert_names:
        raise AddExpertError(f"the table has no scores of {name!r}: it has {', '.join(table.expert_names)}")
    own = table.scores[:, table.expert_names.index(name)]
    rows = np.flatnonzero(~np.isnan(own))
    if not len(rows):
        raise AddExpertError(
            f"the table has no score of {name!r}: score some prompts, or give a --description"
        )
    part = table.take(rows)
    return ScoredPrompts(
        _categories(composition, encoder, part), own[rows], _others(composition.expert_names, part, evidence)
    )


def _categories(composition: Composition, encoder: Encoder, part: OutcomeTable) -> Matrix:
    """The table's own category where the composition has it, stage 1's probabilities elsewhere."""
    found = np.zeros((len(part), len(composition.categories)), dtype=np.float32)
    index = {name: column for column, name in enumerate(composition.categories)}
    unknown = [row for row, name in enumerate(part.categories) if name not in index]
    for row, name in enumerate(part.categories):
        if name in index:
            found[row, index[name]] = 1
    if unknown:
        features = features_of(encoder, [part.prompts[row] for row in unknown])
        found[unknown] = softmax(composition.classifier.logits(features), composition.temperature)
    return found


def _others(names: Sequence[str], part: OutcomeTable, evidence: Evidence | None) -> Matrix:
    """Scores of the composition's experts on the same prompts: the table's, else those fitted on."""
    found = np.full((len(part), len(names)), np.nan, dtype=np.float32)
    if evidence is not None:
        row_of = {digest: row for row, digest in enumerate(evidence.prompt_digests)}
        seen = [row_of.get(prompt_digest(prompt), -1) for prompt in part.prompts]
        here = [row for row, there in enumerate(seen) if there >= 0]
        there = [row for row in seen if row >= 0]
        for column, name in enumerate(names):
            if name in evidence.experts:
                found[here, column] = evidence.scores[there, evidence.experts.index(name)]
    for column, name in enumerate(names):
        if name in part.expert_names:
            told = part.scores[:, part.expert_names.index(name)]
            found[:, column] = np.where(np.isnan(told), found[:, column], told)
    return found


def _likeness(composition: Composition, card: ExpertCard, encoder: Encoder) -> DescriptionSimilarity:
    """Cosines of the description to the categories (definition and seed prompts) and to the others'."""
    own = encoder.encode([card.description])[0]
    definitions = {each.name: f"{each.title}. {each.definition}" for each in load_categories()}
    seeds: dict[str, list[str]] = {}
    for seed in load_seeds("fit"):
        seeds.setdefault(seed.category, []).append(seed.prompt)
    categories = []
    for name in composition.categories:
        texts = [
            definitions.get(name, name.replace("_", " ").replace("-", " ")),
            *seeds.get(name, ())[:SEEDS],
        ]
        vectors = encoder.encode(texts)
        # The definition says what the category is, the prompts what it sounds like: half each.
        centre = vectors[0] if len(vectors) == 1 else (vectors[0] + vectors[1:].mean(axis=0)) / 2
        categories.append(_cosine(own, centre))
    experts = [
        _cosine(own, encoder.encode([each.description])[0]) if each.description else float("nan")
        for each in composition.experts
    ]
    return DescriptionSimilarity(
        np.asarray(categories, dtype=np.float32), np.asarray(experts, dtype=np.float32)
    )


def _cosine(one: Vector, other: Vector) -> float:
    return float(one @ other / max(float(np.linalg.norm(other)), 1e-12))


def _fingerprints(folder: Path, table: OutcomeTable | None) -> Fingerprints | None:
    """What the composition was fitted on; None where it does not say and `table` adds no prompts to that."""
    try:
        found = load_fingerprints(folder)
    except FingerprintError as error:
        raise AddExpertError(str(error)) from error
    if found is None and table is not None:
        raise AddExpertError(
            f"{folder / FINGERPRINTS} is missing, which keeps the prompts of a fit out of reports, so those "
            "of --scores could get into one: fit the composition again, or give a --description alone"
        )
    return found


def _evidence(folder: Path) -> Evidence | None:
    try:
        return load_evidence(folder)
    except EvidenceError:
        return None


def _extended(evidence: Evidence, name: str, row: UtilityRow, table: OutcomeTable | None) -> Evidence:
    """The evidence with a column for the new expert: its scores on prompts that were fitted on."""
    if name in evidence.experts:
        scores, experts = evidence.scores, evidence.experts
    else:
        blank = np.full((len(evidence), 1), np.nan, dtype=np.float32)
        scores, experts = np.concatenate([evidence.scores, blank], axis=1), (*evidence.experts, name)
    if table is not None:
        row_of = {digest: at for at, digest in enumerate(evidence.prompt_digests)}
        column = experts.index(name)
        scores = scores.copy()
        for prompt, score in zip(table.prompts, table.scores[:, table.expert_names.index(name)], strict=True):
            at = row_of.get(prompt_digest(prompt))
            if at is not None and not np.isnan(score):
                scores[at, column] = score
    held_out = evidence.held_out
    if held_out is not None:
        held_out = np.concatenate([held_out, row.utilities[evidence.labels][:, None]], axis=1)
    return replace(evidence, scores=scores, experts=experts, held_out=held_out)
