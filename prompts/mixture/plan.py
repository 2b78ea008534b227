"""The sizes of a build's steps, chosen in advance to stay within `max_calls`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.induction import ROUNDS
from prompts.mixture.mixture import MixtureError
from prompts.mixture.regions import Indices

MIN_DEMOS = 8
"""Distinct demos that a build needs."""
MIN_SAMPLES = 4
"""Samples per comparison that are given up last."""


@dataclass(frozen=True, slots=True, eq=False)
class DemoSplit:
    """Indices of the demos for building and of the held-out ones."""

    known: Indices
    held_out: Indices


def split(count: int, config: BuildConfig) -> DemoSplit:
    """A random split of `count` demos."""
    order = np.random.default_rng(config.seed).permutation(count)
    held_out = min(round(count * config.held_out_share), config.held_out_most)
    return DemoSplit(np.sort(order[held_out:]), np.sort(order[:held_out]))


def halvings(candidates: int) -> list[int]:
    """Candidates per round of sequential halving (Karnin, Koren & Somekh, ICML 2013), down to two."""
    sizes = [candidates]
    while sizes[-1] > 2:
        sizes.append((sizes[-1] + 1) // 2)
    return sizes


def samples_by_round(samples: int, rounds: int, boost: int) -> list[int]:
    """Cumulative samples after each round: doubling, all in the last; multiplied by `boost`."""
    return [min(samples, math.ceil(boost * samples / 2 ** (rounds - 1 - each))) for each in range(rounds)]


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """Sizes of a build's steps; `regions`: demos per region; `boost`: factor on the samples of the joint
    search's rounds; `reduced`: whether `max_calls` limited anything."""

    candidates: int
    kept: int
    scoring_samples: int
    region_samples: int
    demo_sets: int
    regions: tuple[int, ...]
    held_out: int
    boost: int = 1
    reduced: bool = False

    @property
    def most_calls(self) -> int:
        """An upper bound of the calls."""
        induced = ROUNDS * self.candidates
        scored = (self.candidates + 1) * self.scoring_samples if self.candidates else 0
        searched = sum(self._searched(min(count, self.region_samples)) for count in self.regions)
        # Plain prompt and mixture on the held-out demos.
        return induced + scored + searched + 2 * self.held_out

    def _searched(self, samples: int) -> int:
        """Calls of the joint search in one region; the plain prompt stays in every round."""
        sizes = halvings((self.kept + 1) * self.demo_sets)
        after = samples_by_round(samples, len(sizes), self.boost)
        new = [now - before for before, now in zip([0, *after], after, strict=False)]
        return samples + sum(size * count for size, count in zip(sizes, new, strict=True))


def plan(regions: Sequence[int], held_out: int, config: BuildConfig) -> BuildPlan:
    """The configured sizes for `regions` of these sizes, reduced to `max_calls`: samples of the joint search
    first, then scoring samples, then candidates; remaining calls increase `boost`. Raises MixtureError when
    the smallest build does not fit."""
    sets = 1 + len(set(config.demo_counts)) + bool(config.shared_demos) + len(set(config.nearest_counts))
    kept = min(config.kept_instructions, config.candidates)
    now = BuildPlan(
        config.candidates if kept else 0,
        kept,
        min(config.scoring_samples, sum(regions)),
        min(config.region_samples, max(regions, default=1)),
        sets,
        tuple(regions),
        held_out,
    )
    while now.most_calls > config.max_calls:
        now = replace(_smaller(now, config), reduced=True)
    rounds = len(halvings((now.kept + 1) * sets))
    boosts = (replace(now, boost=2**each) for each in range(rounds))
    return max((each for each in boosts if each.most_calls <= config.max_calls), key=lambda each: each.boost)


def _smaller(now: BuildPlan, config: BuildConfig) -> BuildPlan:
    fewer_region_samples = replace(now, region_samples=now.region_samples - 1)
    if now.region_samples > 2 * MIN_SAMPLES:
        return fewer_region_samples
    if now.scoring_samples > 2 * MIN_SAMPLES:
        return replace(now, scoring_samples=now.scoring_samples - 1)
    if now.region_samples > MIN_SAMPLES:
        return fewer_region_samples
    if now.candidates:
        return replace(now, candidates=now.candidates - 1, kept=min(now.kept, now.candidates - 1))
    if now.region_samples > 1:
        return fewer_region_samples
    raise MixtureError(
        f"max_calls is {config.max_calls}, but the smallest build of these demos takes {now.most_calls}"
    )


def spread(groups: Sequence[Sequence[int]], count: int) -> list[int]:
    """`count` members of `groups`, round-robin."""
    longest = max((len(group) for group in groups), default=0)
    turns = [group[turn] for turn in range(longest) for group in groups if turn < len(group)]
    return turns[:count]
