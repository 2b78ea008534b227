"""`coterie fit`: gather labelled prompts and an outcome table, fit, write the composition.

Joins what `routers` must not know (the seed prompts, the expert registry) with its fitting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prompts.seeds import Seed, load_seeds
from routers.composition import Composition, ExpertCard, load_composition, save_composition
from routers.embeddings import Progress, encode_cached
from routers.encoder import Encoder
from routers.features import with_text_parts
from routers.fitting import FitOptions, Labelled, fit_composition
from routers.outcomes import OutcomeTable, read_outcomes
from routers.request import Matrix


@dataclass(frozen=True, slots=True)
class TestResult:
    """Stage 1 on the seed prompts put aside: `confusion` rows are true, columns predicted categories."""

    categories: tuple[str, ...]
    accuracy: float
    confusion: Matrix


def fit_from_files(
    table: Path | None,
    out: Path,
    encoder: Encoder,
    cards: Sequence[ExpertCard],
    options: FitOptions,
    *,
    experts: Sequence[str] | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Composition:
    """Fit on the seed prompts and `table` and write the composition to `out`.

    `table` None fits a pool nobody has scored: utilities are then a guess by size. `cards` are the
    registry's experts; what the table says of an expert's size and price gives way to them.
    `experts` restricts the composition to these. Raises OutcomeError, FitError, CompositionError.
    """
    if table is None:
        scored = OutcomeTable((), (), (), tuple(cards), np.zeros((0, len(cards)), dtype=np.float32))
    else:
        scored = read_outcomes(table)
    if experts is not None:
        scored = scored.keep_experts(experts)
    known = {card.name: card for card in cards}
    scored = OutcomeTable(
        scored.uids,
        scored.categories,
        scored.prompts,
        tuple(known.get(card.name, card) for card in scored.experts),
        scored.scores,
    )
    seeds = load_seeds("fit")
    prompts = tuple(seed.prompt for seed in seeds) + scored.prompts
    embeddings = encode_cached(encoder, prompts, cache, progress)
    labelled = Labelled(
        prompts,
        tuple(seed.category for seed in seeds) + scored.categories,
        with_text_parts(embeddings, prompts),
    )
    save_composition(fit_composition(labelled, scored, encoder, options), out)
    return load_composition(out)


def test_stage1(composition: Composition, encoder: Encoder, seeds: Sequence[Seed]) -> TestResult:
    """Category accuracy and confusion on `seeds`, which must not have been fitted on."""
    prompts = [seed.prompt for seed in seeds]
    features = with_text_parts(encode_cached(encoder, prompts), prompts)
    predicted = composition.classifier.logits(features).argmax(axis=1)
    index = {name: row for row, name in enumerate(composition.categories)}
    truth = np.asarray([index[seed.category] for seed in seeds])
    confusion = np.zeros((len(index), len(index)), dtype=np.float32)
    np.add.at(confusion, (truth, predicted), 1)
    return TestResult(composition.categories, float((truth == predicted).mean()), confusion)
