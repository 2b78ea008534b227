"""Building a mixture of prompts from demos: the steps of arXiv 2407.00256, one after the other.

    split → embed → demo clustering → induction from complements → scoring → region-based joint search
    → measuring on held-out demos

Knows models only as an `Ask`, and the encoder only as a function.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from prompts.mixture.artefact import check_name, sealed
from prompts.mixture.asking import Ask, Asking, PrefixCache, Progress
from prompts.mixture.config import BuildConfig
from prompts.mixture.demo_sets import demo_sets
from prompts.mixture.demos import Demo, check_buildable, demos_digest, distinct
from prompts.mixture.evidence import held_out_evidence
from prompts.mixture.examining import Examiner, answer_tokens
from prompts.mixture.induction import induce
from prompts.mixture.mixture import Matrix, Mixture, MixtureError, Region
from prompts.mixture.plan import LEAST_DEMOS, Plan, Split, plan, split, spread
from prompts.mixture.regions import Division, demo_clustering
from prompts.mixture.search import Found, best_instructions, region_based_joint_search

Encode = Callable[[Sequence[str]], Matrix]
"""Texts → float32 (n, d), rows of unit length: `routers.encoder.Encoder.encode`."""
ReadPrefixCache = Callable[[], Awaitable[PrefixCache | None]]


async def build(
    demos: Sequence[Demo],
    config: BuildConfig,
    ask: Ask,
    encode: Encode,
    *,
    progress: Progress | None = None,
    name: str = "mixture",
    base: str = "",
    encoder: str = "",
    encoder_revision: str = "",
    prefix_cache: ReadPrefixCache | None = None,
) -> Mixture:
    """The mixture of prompts that these demos call for. Nothing is written.

    `base` names the expert behind `ask`, `encoder` and its revision what `encode` is; `prefix_cache` reads
    the server's counters, for the bill. Repeats among `demos` count once.

    Raises:
        DemoError: demos that contradict each other, are too few or all want one answer.
        MixtureError: the model answers nothing, its context holds no demo's input, `max_calls` is too
            small, or embeddings are no embeddings.
        Whatever `ask` raises.
    """
    check_name(name)
    used = distinct(demos)
    check_buildable(used, LEAST_DEMOS)
    embeddings = await asyncio.to_thread(_embedded, [demo.input for demo in used], encode)
    parts = split(len(used), config)
    known = np.sort(np.concatenate([parts.train, parts.validation]))
    clustered = await asyncio.to_thread(demo_clustering, embeddings[known], config)
    division = _over_all(clustered, known, len(used))
    # Shuffled: where not all are asked, those that are shall not be the first of a sorted file.
    shuffled = np.random.default_rng(config.seed).permutation(parts.validation)
    validation = [shuffled[division.labels[shuffled] == each] for each in range(len(division))]
    sizes = plan([len(each) for each in validation], len(parts.held_out), config)

    asking = Asking(ask, concurrency=config.concurrency, max_calls=config.max_calls, progress=progress)
    before = await prefix_cache() if prefix_cache is not None else None
    examiner = Examiner(config, asking, answer_tokens(used, config))
    known_demos = [used[index] for index in known]
    shown_here = np.flatnonzero(np.isin(known, parts.train))
    induced = await induce(
        known_demos,
        shown_here,
        clustered,
        config.model_copy(update={"candidates": sizes.candidates}),
        asking,
    )
    kept: tuple[str, ...] = ("",)
    if induced:
        scored_on = spread([each.tolist() for each in validation], sizes.scoring_samples)
        kept = await best_instructions(induced, [used[each] for each in scored_on], sizes.kept, examiner)
    sets = [
        demo_sets(each, used, parts.train, division, embeddings, examiner) for each in range(len(division))
    ]
    samples = [[used[index] for index in each[: sizes.region_samples]] for each in validation]
    found, fallback = await region_based_joint_search(kept, sets, samples, examiner)
    if not examiner.heard:
        raise MixtureError(
            f"{base or 'the model'} answered {asking.made} questions with nothing at all: ask it by hand "
            "first, nothing can be chosen by empty answers"
        )
    if config.refit and not examiner.refused:
        redrawn = (
            demo_sets(each, used, known, division, embeddings, examiner) for each in range(len(division))
        )
        found = [each.showing(own[each.demo_set]) for each, own in zip(found, redrawn, strict=True)]
    regions = tuple(
        Region(centroid, float(radius), each.prompt.instruction, each.prompt.demos)
        for centroid, radius, each in zip(division.centroids, division.radii, found, strict=True)
    )
    mixture = Mixture(name, base, encoder, encoder_revision, regions, fallback, config.layout)
    held_out = [used[index] for index in parts.held_out]
    evidence = await held_out_evidence(mixture, held_out, embeddings[parts.held_out], examiner)
    bill = asking.bill
    if prefix_cache is not None and before is not None and (after := await prefix_cache()) is not None:
        bill = replace(bill, prefix_cache=after.since(before))
    record = {
        "held_out": evidence,
        "search": [_search_record(each) for each in found],
        "instructions": {"induced": list(induced), "kept": list(kept)},
        "clustering": {str(k): round(value, 6) for k, value in clustered.criterion.items()},
        "demos": _demos_record(demos, used, parts),
        "notes": _notes(induced, found, sizes, config),
        "bill": asdict(bill) | {"prefix_cache_hit_rate": _rate(bill.prefix_cache)},
        "answer_tokens": examiner.answer_tokens,
        "config": config.model_dump(mode="json"),
        "code": {"coterie": _version()},
    }
    return sealed(replace(mixture, manifest=record))


def _embedded(texts: Sequence[str], encode: Encode) -> Matrix:
    rows = np.asarray(encode(texts), dtype=np.float32)
    if rows.ndim != 2 or len(rows) != len(texts) or not np.isfinite(rows).all():
        raise MixtureError(f"the encoder gave no vector for each of {len(texts)} texts: shape {rows.shape}")
    return rows


def _over_all(division: Division, known: np.ndarray[Any, np.dtype[np.intp]], count: int) -> Division:
    """A division of the demos at `known` as one of all `count` demos; the others are in no region."""
    labels = np.full(count, -1, dtype=np.intp)
    labels[known] = division.labels
    return replace(division, labels=labels)


def _search_record(found: Found) -> dict[str, Any]:
    return {
        "demo_set": found.demo_set,
        "demos": len(found.prompt.demos),
        "plain": found.prompt.plain,
        "validation_demos": found.samples,
        "estimate": round(found.estimate, 4),
        "plain_estimate": round(found.plain, 4),
        "extra_tokens": round(found.extra_tokens, 1),
    }


def _demos_record(given: Sequence[Demo], used: Sequence[Demo], parts: Split) -> dict[str, Any]:
    by_part = {"train": parts.train, "validation": parts.validation, "held_out": parts.held_out}
    return {
        "given": len(given),
        "used": len(used),
        "digest": demos_digest(used),
        **{
            part: {"demos": len(indices), "digest": demos_digest([used[index] for index in indices])}
            for part, indices in by_part.items()
        },
    }


def _notes(induced: Sequence[str], found: Sequence[Found], sizes: Plan, config: BuildConfig) -> list[str]:
    """What fell back, in words."""
    notes = []
    if sizes.reduced:
        notes.append(
            f"max_calls left {sizes.candidates} candidates, {sizes.scoring_samples} samples to score them on "
            f"and at most {sizes.region_samples} a region to choose on"
        )
    if config.candidates and not induced:
        notes.append("the model wrote no usable instruction: only demos were compared")
    if len(found) == 1:
        notes.append("the demos are one region: they do not fall apart, or are too few")
    plain = sum(each.prompt.plain for each in found)
    if plain:
        notes.append(f"nothing beat the plain prompt in {plain} of {len(found)} regions")
    return notes


def _rate(counted: PrefixCache | None) -> float | None:
    return None if counted is None else round(counted.hit_rate, 4)


def _version() -> str:
    try:
        return version("coterie")
    except PackageNotFoundError:
        return "unknown"
