"""`coterie fit`: gather labelled prompts and an outcome table, fit, write the composition and its report.

Joins what `routers` must not know (the seed prompts, the expert registry) with its fitting.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from prompts.seeds import Seed, load_seeds
from routers.classifiers import LogisticClassifier
from routers.composition import Composition, ExpertCard, load_composition, save_composition
from routers.encoder import Encoder
from routers.features import features_of_prompts
from routers.fingerprints import fingerprints_of, write_fingerprints
from routers.fitting import Fit, FitError, FitOptions, Labelled, fit
from routers.fitting.categories import discover, nearest_part, split
from routers.fitting.stages import StageCache, Step, no_step
from routers.format_features import is_multiple_choice
from routers.outcome_table import OutcomeTable, read_outcomes
from routers.request import Matrix

Categories = Literal["table", "auto", "split", "seeds"]
"""Where categories come from: the table; clusters of its prompts; the table's, split where experts differ;
the seeds', each prompt of the table in that which a classifier of the seeds takes it for, and multiple-choice
prompts in one more, `CHOICES`."""
CHOICES = "choices"
"""Category of multiple-choice prompts with `--categories seeds`."""


@dataclass(frozen=True, slots=True)
class FitSource:
    """What to fit on. `table` None fits a pool nobody has scored: utilities are then a guess by size.

    `cards` are the registry's experts; what the table says of an expert's size and price gives way to
    them. `only` restricts the composition to these experts. `seeds` None fits stage 1 on our seed
    prompts too when all categories of the table are ours.
    """

    table: Path | None
    cards: Sequence[ExpertCard]
    only: Sequence[str] | None = None
    categories: Categories = "table"
    seeds: bool | None = None


def fit_from_files(
    source: FitSource,
    out: Path,
    encoder: Encoder,
    options: FitOptions,
    *,
    cache: Path | None = None,
    step: Step = no_step,
    report: bool = True,
    keep_evidence: bool = True,
) -> Composition:
    """Fit and write the composition, its evidence and its report to `out`.

    `cache` keeps embeddings and results of long steps, so that an interrupted or repeated fit goes on
    from them. Raises OutcomeError, FitError, BudgetTooSmall, CompositionError.
    """
    from threadpoolctl import threadpool_limits

    table = _table(source)
    seeds = _seeds(source, table)
    embeddings = cache / "embeddings" if cache else None
    texts = [seed.prompt for seed in seeds]
    prompts = (*texts, *table.prompts)
    if not prompts:
        raise FitError("there is nothing to fit on: give an outcome table, or use the seed prompts")
    # Seeds and table apart, so that what is kept of the seeds serves every table.
    parts = [
        features_of_prompts(
            encoder, part, embeddings, lambda done, total: step("reading prompts", done, total)
        )
        for part in (texts, table.prompts)
        if part
    ]
    # 20 KB a prompt: one part alone is not copied.
    features = parts[0] if len(parts) == 1 else np.concatenate(parts)
    step("categories", 0, 1)
    of_seeds, of_table = _categories(source, seeds, table, features, encoder.dimension, options.seed)
    table = replace(table, categories=tuple(of_table))
    with threadpool_limits(options.cores):
        fitted = fit(
            Labelled(prompts, (*of_seeds, *of_table), features),
            table,
            encoder,
            options,
            scored=np.arange(len(seeds), len(prompts)),
            stages=StageCache(cache / "fits" if cache else None, step),
        )
    fitted = _with_source(fitted, source, seeds)
    save_composition(fitted.composition, out, fitted.evidence if keep_evidence else None)
    vectors_too = features[:, : encoder.dimension] if keep_evidence else None
    write_fingerprints(out, fingerprints_of(prompts, vectors_too))
    if report:
        from routers.fitting.fit_report import write_report

        step("report", 0, 1)
        write_report(fitted, out)
    return load_composition(out)


def _table(source: FitSource) -> OutcomeTable:
    if source.table is None:
        cards = tuple(source.cards)
        table = OutcomeTable((), (), (), cards, np.zeros((0, len(cards)), dtype=np.float32))
    else:
        table = read_outcomes(source.table)
    if source.only is not None:
        table = table.keep_experts(source.only)
    known = {card.name: card for card in source.cards}
    return replace(table, experts=tuple(known.get(card.name, card) for card in table.experts))


def _seeds(source: FitSource, table: OutcomeTable) -> Sequence[Seed]:
    seeds = load_seeds("fit")
    wanted = source.seeds
    if wanted is None:
        ours = {seed.category for seed in seeds}
        wanted = source.categories == "seeds" or (
            source.categories != "auto" and set(table.categories) <= ours
        )
    if wanted and source.categories == "auto":
        raise FitError("seed prompts have categories, so `--categories auto` goes without them: `--no-seeds`")
    if not wanted and source.categories == "seeds":
        raise FitError("`--categories seeds` needs the seed prompts: leave `--no-seeds` out")
    return seeds if wanted else ()


def _categories(
    source: FitSource,
    seeds: Sequence[Seed],
    table: OutcomeTable,
    features: Matrix,
    dimension: int,
    seed: int,
) -> tuple[list[str], list[str]]:
    """The categories of the seeds and of the table's prompts."""
    own = [each.category for each in seeds]
    if source.categories == "table" or not len(table):
        return own, list(table.categories)
    of_table = features[len(seeds) :]
    if source.categories == "seeds":
        names = sorted(set(own))
        labels = np.asarray([names.index(name) for name in own], dtype=np.int64)
        logits = LogisticClassifier.fit(features[: len(seeds)], labels, len(names)).logits(of_table)
        taken_for = [names[best] for best in logits.argmax(axis=1)]
        prompts = (*(each.prompt for each in seeds), *table.prompts)
        whole = [
            CHOICES if is_multiple_choice(prompt) else name
            for prompt, name in zip(prompts, (*own, *taken_for), strict=True)
        ]
        return whole[: len(seeds)], whole[len(seeds) :]
    if source.categories == "auto":
        return own, discover(table.prompts, of_table, dimension, table.scores, seed)
    parts = split(table.prompts, table.categories, of_table, dimension, table.scores, seed)
    for category in sorted(set(own) & set(table.categories)):
        inside = [row for row, name in enumerate(table.categories) if name == category]
        named = [parts[row] for row in inside]
        mine = [row for row, name in enumerate(own) if name == category]
        if len(set(named)) > 1:
            nearest = nearest_part(features[mine], dimension, of_table[inside], named)
            for row, name in zip(mine, nearest, strict=True):
                own[row] = name
    return own, parts


def _with_source(fitted: Fit, source: FitSource, seeds: Sequence[Seed]) -> Fit:
    manifest = dict(fitted.composition.manifest)
    manifest["options"] = {
        **manifest["options"],
        "categories": source.categories,
        "seeds": bool(seeds),
        "only": None if source.only is None else list(source.only),
    }
    return replace(fitted, composition=replace(fitted.composition, manifest=manifest))
