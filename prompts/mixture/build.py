"""Building a mixture of prompts from demos (arXiv 2407.00256):

split → embed → demo clustering → induction from complements → scoring → region-based joint search
→ evaluation on held-out demos
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from prompts.mixture.artefact import check_name, sealed
from prompts.mixture.call_budget import Ask, Asking, PrefixCache, Progress
from prompts.mixture.demo_sets import demo_sets
from prompts.mixture.demos import Demo, check_buildable, check_scorable, demos_digest, distinct
from prompts.mixture.held_out_evidence import held_out_evidence
from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.induction import induce
from prompts.mixture.layout import PLAIN, FewShotPrompt
from prompts.mixture.mixture import Mixture, Region
from prompts.mixture.plan import MIN_DEMOS, MIN_SAMPLES, BuildPlan, DemoSplit, plan, split, spread
from prompts.mixture.pool import DemoPool, Matrix, MixtureError
from prompts.mixture.prompt_scoring import PromptScorer, answer_tokens
from prompts.mixture.regions import DemoClusters, Indices, demo_clustering
from prompts.mixture.search import RegionPrompt, best_instructions, region_based_joint_search

Encode = Callable[[Sequence[str]], Matrix]
"""Texts → float32 (n, d), unit rows: `routers.encoder.Encoder.encode`."""
MAX_POOL = 1000
"""Maximum size of the demo pool (a random sample): the nearest-neighbour search then takes about 0.1 ms."""
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
    """Build a mixture from `demos`, of which duplicates count once.

    `base` names the expert behind `ask`, `encoder` and `encoder_revision` the model behind `encode`;
    `prefix_cache` reads the server's counters, for the bill. Raises DemoError (contradictory, too few,
    constant or unscorable demos), MixtureError (only empty answers, a too small context or `max_calls`,
    invalid embeddings) and whatever `ask` raises.
    """
    check_name(name)
    used = distinct(demos)
    check_buildable(used, MIN_DEMOS)
    check_scorable(used, config.metric)
    embeddings = await asyncio.to_thread(_embedded, [demo.input for demo in used], encode)
    parts = split(len(used), config)
    clusters = await asyncio.to_thread(demo_clustering, embeddings[parts.known], config)
    asking = Asking(ask, concurrency=config.concurrency, max_calls=config.max_calls, progress=progress)
    scorer = PromptScorer(config, asking, answer_tokens(used, config))
    fitting = _fitting(used, parts.known, scorer)
    pool, members = _pool(used, embeddings, parts.known, fitting, clusters, config.seed)
    # Shuffled, since only the first are asked and the file may be sorted.
    rng = np.random.default_rng(config.seed)
    shuffled = [rng.permutation(each).tolist() for each in members]
    sizes = plan([len(each) for each in members], len(parts.held_out), config)

    before = await prefix_cache() if prefix_cache is not None else None
    limited = config.model_copy(update={"candidates": sizes.candidates})
    induced = await induce([used[index] for index in parts.known], clusters, limited, asking)
    unasked = bool(asking.bill.too_long)
    kept: tuple[str, ...] = ("",)
    if induced:
        scored_on = pool.pick(spread(shuffled, sizes.scoring_samples))
        kept = await best_instructions(induced, scored_on, sizes.kept, scorer)
    sets = await asyncio.to_thread(demo_sets, members, pool, scorer)
    samples = [each[: sizes.region_samples] for each in shuffled]
    found, fallback = await region_based_joint_search(kept, sets, samples, pool, scorer, sizes.boost)
    if not scorer.answered:
        raise MixtureError(
            f"{base or 'the model'} answered {asking.made} questions with nothing at all: ask it by hand "
            "first, nothing can be chosen by empty answers"
        )
    regions = tuple(
        Region(
            centroid, float(radius), each.instruction, pool.pick(each.demo_set.fixed), each.demo_set.nearest
        )
        for centroid, radius, each in zip(clusters.centroids, clusters.radii, found, strict=True)
    )
    needed = pool if any(region.nearest for region in regions) else None
    mixture = Mixture(name, base, encoder, encoder_revision, regions, fallback, config.layout, needed)
    held_out = [used[index] for index in parts.held_out]
    evidence = await held_out_evidence(mixture, held_out, embeddings[parts.held_out], scorer)
    bill = asking.bill
    if prefix_cache is not None and before is not None and (after := await prefix_cache()) is not None:
        bill = replace(bill, prefix_cache=after.since(before))
    record = {
        "held_out": evidence,
        "search": [_search_record(each) for each in found],
        "instructions": {"induced": list(induced), "kept": list(kept)},
        "clustering": {str(k): round(value, 6) for k, value in clusters.criterion.items()},
        "demos": _demos_record(demos, used, parts),
        "notes": _notes(config, induced, found, sizes, len(parts.known) - len(fitting), unasked),
        "bill": asdict(bill)
        | {"prefix_cache_hit_rate": bill.prefix_cache and round(bill.prefix_cache.hit_rate, 4)},
        "answer_tokens": scorer.answer_tokens,
        "config": config.model_dump(mode="json"),
        "code": {"coterie": _version()},
    }
    return sealed(replace(mixture, manifest=record))


def _embedded(texts: Sequence[str], encode: Encode) -> Matrix:
    rows = np.asarray(encode(texts), dtype=np.float32)
    if rows.ndim != 2 or len(rows) != len(texts) or not np.isfinite(rows).all():
        raise MixtureError(f"the encoder gave no vector for each of {len(texts)} texts: shape {rows.shape}")
    return rows


def _fitting(demos: Sequence[Demo], known: Indices, scorer: PromptScorer) -> Indices:
    """Positions in `known` of the demos that can be shown with an input of their length within the context;
    if there is none, of those whose input fits alone. Raises MixtureError if there is none either."""
    beside = [scorer.fits(FewShotPrompt(demos=(demos[index],)), demos[index].input) for index in known]
    alone = [scorer.fits(PLAIN, demos[index].input) for index in known]
    if not any(alone):
        raise MixtureError(
            "the model's context holds none of the demos' inputs: its context is too small; shorten them, or "
            "take an expert with a larger one"
        )
    return np.flatnonzero(beside if any(beside) else alone)


def _pool(
    demos: Sequence[Demo],
    embeddings: Matrix,
    known: Indices,
    places: Indices,
    clusters: DemoClusters,
    seed: int,
) -> tuple[DemoPool, list[Indices]]:
    """The demo pool, from at most MAX_POOL of the positions `places` in `known`, and each region's members as
    indices into the pool."""
    if len(places) > MAX_POOL:
        places = np.sort(np.random.default_rng(seed).permutation(places)[:MAX_POOL])
    indices = known[places]
    pool = DemoPool(tuple(demos[index] for index in indices), np.ascontiguousarray(embeddings[indices]))
    labels = clusters.labels[places]
    return pool, [np.flatnonzero(labels == region) for region in range(len(clusters))]


def _search_record(found: RegionPrompt) -> dict[str, Any]:
    return {
        "demo_set": found.demo_set.name,
        "demos": found.demo_set.count or found.demo_set.nearest,
        "plain": found.plain,
        "asked": found.samples,
        "estimate": round(found.estimate, 4),
        "plain_estimate": round(found.plain_estimate, 4),
        "extra_tokens": round(found.extra_tokens, 1),
    }


def _demos_record(given: Sequence[Demo], used: Sequence[Demo], parts: DemoSplit) -> dict[str, Any]:
    by_part = {"known": parts.known, "held_out": parts.held_out}
    return {
        "given": len(given),
        "used": len(used),
        "digest": demos_digest(used),
        **{
            part: {"demos": len(indices), "digest": demos_digest([used[index] for index in indices])}
            for part, indices in by_part.items()
        },
    }


def _notes(
    config: BuildConfig,
    induced: Sequence[str],
    found: Sequence[RegionPrompt],
    sizes: BuildPlan,
    too_long: int,
    unasked: bool,
) -> list[str]:
    """Warnings about reduced sizes, dropped demos and missing gains."""
    notes = []
    fewer = sizes.candidates < config.candidates or sizes.region_samples < 2 * MIN_SAMPLES
    if sizes.reduced and fewer:
        notes.append(
            f"max_calls left {sizes.candidates} candidates, {sizes.scoring_samples} samples to score them on "
            f"and at most {sizes.region_samples} a region to choose on"
        )
    if too_long:
        notes.append(f"{too_long} demos are too long for the model's context: neither shown nor asked")
    if sizes.candidates and not induced:
        why = "no question for one fitted its context" if unasked else "it wrote none that can be used"
        notes.append(f"the model gave no instruction, {why}: only demos were compared")
    if not any(each.estimate > 0 for each in found):
        notes.append("no answer was ever right: look at some by hand, or choose another metric")
    if len(found) == 1:
        notes.append("the demos are one region: they do not fall apart, or are too few")
    plain = sum(each.plain for each in found)
    if plain:
        notes.append(f"nothing beat the plain prompt in {plain} of {len(found)} regions")
    return notes


def _version() -> str:
    try:
        return version("coterie")
    except PackageNotFoundError:
        return "unknown"
