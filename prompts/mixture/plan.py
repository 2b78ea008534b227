"""What a build will ask, planned before anything is paid: never more calls than agreed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.induction import ROUNDS
from prompts.mixture.mixture import MixtureError
from prompts.mixture.regions import Indices

LEAST_DEMOS = 8
"""Different demos that a build needs."""
FEW = 4
"""Samples below which comparing prompts says nothing: given up last."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Indices of demos: those that prompts are made of and chosen on, and those that measure the result."""

    known: Indices
    held_out: Indices


def split(count: int, config: BuildConfig) -> Split:
    """`count` demos in two parts, at random by the seed."""
    order = np.random.default_rng(config.seed).permutation(count)
    held_out = min(round(count * config.held_out_share), config.held_out_most)
    return Split(np.sort(order[held_out:]), np.sort(order[:held_out]))


def halvings(candidates: int) -> list[int]:
    """How many candidates each round of the joint search compares: all, the better half, down to two.
    Sequential halving after Karnin, Koren and Somekh (ICML 2013)."""
    sizes = [candidates]
    while sizes[-1] > 2:
        sizes.append((sizes[-1] + 1) // 2)
    return sizes


def samples_by_round(samples: int, rounds: int, boost: int) -> list[int]:
    """On how many of a region's samples candidates have been compared after each round: twice as many as
    before it, all in the last one. `boost` times as many where calls are left for it."""
    return [min(samples, math.ceil(boost * samples / 2 ** (rounds - 1 - each))) for each in range(rounds)]


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of a build's steps. `most_calls` is what they can come to."""

    candidates: int
    kept: int
    scoring_samples: int
    region_samples: int
    demo_sets: int
    regions: tuple[int, ...]
    """Demos of each region."""
    held_out: int
    boost: int = 1
    """How many times as many samples as need be the rounds of the joint search take."""
    reduced: bool = False
    """Whether `max_calls` made anything smaller."""

    @property
    def most_calls(self) -> int:
        induced = ROUNDS * self.candidates
        scored = (self.candidates + 1) * self.scoring_samples if self.candidates else 0
        searched = sum(self._searched(min(count, self.region_samples)) for count in self.regions)
        # The plain prompt on held-out demos, and the mixture's.
        return induced + scored + searched + 2 * self.held_out

    def _searched(self, samples: int) -> int:
        """Calls of the joint search in one region: the plain prompt stays to the end."""
        sizes = halvings((self.kept + 1) * self.demo_sets)
        after = samples_by_round(samples, len(sizes), self.boost)
        new = [now - before for before, now in zip([0, *after], after, strict=False)]
        return samples + sum(size * count for size, count in zip(sizes, new, strict=True))


def plan(regions: Sequence[int], held_out: int, config: BuildConfig) -> Plan:
    """The config's sizes for `regions` of so many demos, made smaller where they come to more than
    `max_calls`: samples of the joint search first, then samples that candidates are scored on, then
    candidates. What is left over goes to the early rounds of the joint search.

    Raises MixtureError when not even the smallest build fits.
    """
    sets = 1 + len(set(config.demo_counts)) + bool(config.shared_demos) + len(set(config.nearest_counts))
    kept = min(config.kept_instructions, config.candidates)
    now = Plan(
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


def _smaller(now: Plan, config: BuildConfig) -> Plan:
    if now.region_samples > 2 * FEW:
        return replace(now, region_samples=now.region_samples - 1)
    if now.scoring_samples > 2 * FEW:
        return replace(now, scoring_samples=now.scoring_samples - 1)
    if now.region_samples > FEW:
        return replace(now, region_samples=now.region_samples - 1)
    if now.candidates > now.kept:
        return replace(now, candidates=now.candidates - 1)
    if now.kept:
        return replace(now, kept=now.kept - 1, candidates=now.candidates - 1)
    if now.region_samples > 1:
        return replace(now, region_samples=now.region_samples - 1)
    raise MixtureError(
        f"max_calls is {config.max_calls}, but the smallest build of these demos takes {now.most_calls}"
    )


def spread(groups: Sequence[Sequence[int]], count: int) -> list[int]:
    """`count` members of `groups`, taken in turns, so that every group is heard."""
    longest = max((len(group) for group in groups), default=0)
    turns = [group[turn] for turn in range(longest) for group in groups if turn < len(group)]
    return turns[:count]
