"""What a build will ask, planned before anything is paid: never more calls than agreed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from prompts.mixture.config import BuildConfig
from prompts.mixture.induction import ROUNDS
from prompts.mixture.mixture import MixtureError
from prompts.mixture.regions import Indices

LEAST_DEMOS = 8
"""Different demos that a build needs."""
FEW = 4
"""Samples below which comparing prompts says nothing: given up last."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Indices of demos: shown in prompts, chosen on, and measured on."""

    train: Indices
    validation: Indices
    held_out: Indices


def split(count: int, config: BuildConfig) -> Split:
    """`count` demos in three parts, at random by the seed; training and validation have one at least."""
    order = np.random.default_rng(config.seed).permutation(count)
    held_out = min(round(count * config.held_out_share), config.held_out_most, count - 2)
    validation = min(max(1, round(count * config.validation_share)), count - held_out - 1)
    cuts = (held_out, held_out + validation)
    parts = (np.sort(order[cuts[1] :]), np.sort(order[cuts[0] : cuts[1]]), np.sort(order[: cuts[0]]))
    return Split(*parts)


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of a build's steps. `most_calls` is what they can come to."""

    candidates: int
    kept: int
    scoring_samples: int
    region_samples: int
    demo_sets: int
    validation: tuple[int, ...]
    """Validation demos of each region."""
    held_out: int
    reduced: bool = False
    """Whether `max_calls` made anything smaller."""

    @property
    def most_calls(self) -> int:
        induced = ROUNDS * self.candidates
        scored = (self.candidates + 1) * self.scoring_samples if self.candidates else 0
        sampled = sum(min(count, self.region_samples) for count in self.validation)
        # The plain prompt on held-out demos, and the mixture's.
        return induced + scored + (self.kept + 1) * self.demo_sets * sampled + 2 * self.held_out


def plan(validation: Sequence[int], held_out: int, config: BuildConfig) -> Plan:
    """The config's sizes, made smaller where they come to more than `max_calls`: samples of the joint
    search first, then samples that candidates are scored on, then candidates.

    Raises MixtureError when not even the smallest build fits.
    """
    sets = 1 + len(set(config.demo_counts)) + bool(config.shared_demos)
    total = sum(validation)
    kept = min(config.kept_instructions, config.candidates)
    now = Plan(
        config.candidates if kept else 0,
        kept,
        min(config.scoring_samples, total),
        config.region_samples,
        sets,
        tuple(validation),
        held_out,
    )
    now = replace(now, region_samples=min(now.region_samples, max(validation, default=1)))
    while now.most_calls > config.max_calls:
        now = replace(_smaller(now, config), reduced=True)
    return now


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
