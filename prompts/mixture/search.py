"""Region-based joint search (arXiv 2407.00256): instruction and demos of each region, chosen together.

Each region compares prompts on its own validation demos, with its own training demos. What goes beyond
the paper: a region's mean is drawn to the mean over all regions as far as regions do not really differ, so
that the luckiest of many prompts does not win on a handful of samples; added tokens must pay for
themselves; the plain prompt competes and keeps its place where nothing beats it; no demos, fewer demos, and
demos from everywhere compete too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prompts.mixture.config import BuildConfig
from prompts.mixture.demo_sets import NO_DEMOS
from prompts.mixture.demos import Demo
from prompts.mixture.examining import CHARS_PER_TOKEN, Examiner, Trial
from prompts.mixture.layout import Prompt
from prompts.mixture.mixture import MixtureError
from prompts.mixture.regions import Indices

Scores = NDArray[np.float64]

LEAST_STRENGTH, MOST_STRENGTH = 1.0, 64.0
"""Bounds of an estimated strength, in samples: few regions say little of how they differ."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prompt as the search tells it apart: by its instruction and by which set of demos it shows."""

    instruction: str
    demo_set: str


PLAIN_CANDIDATE = Candidate("", NO_DEMOS)


@dataclass(frozen=True, slots=True)
class Found:
    """The prompt of a region and why: `estimate` is its drawn mean, `plain` that of the plain prompt,
    both on `samples` validation demos of the region; `extra_tokens` what it adds to a request."""

    prompt: Prompt
    demo_set: str
    samples: int
    estimate: float
    plain: float
    extra_tokens: float

    def showing(self, demos: tuple[Demo, ...]) -> "Found":
        """The same choice with other demos: its figures stay those of the demos that were compared."""
        return replace(self, prompt=replace(self.prompt, demos=demos))


async def best_instructions(
    candidates: Sequence[str], samples: Sequence[Demo], keep: int, examiner: Examiner
) -> tuple[str, ...]:
    """The `keep` candidates of best mean on `samples`, without demos, best first; of equals the shorter.
    The empty instruction, last, is always among them."""
    asked = [(Prompt(instruction), demo) for instruction in ("", *candidates) for demo in samples]
    trials = await examiner.trials("scoring instructions", asked)
    means = {}
    for row, instruction in enumerate(("", *candidates)):
        own = trials[row * len(samples) : (row + 1) * len(samples)]
        means[instruction] = sum(trial.score for trial in own if trial is not None) / len(own)
    ranked = sorted(candidates, key=lambda each: (-round(means[each], 9), len(each), each))
    return (*ranked[:keep], "")


async def region_based_joint_search(
    instructions: Sequence[str],
    sets: Sequence[Mapping[str, tuple[Demo, ...]]],
    samples: Sequence[Sequence[Demo]],
    examiner: Examiner,
) -> tuple[list[Found], Prompt]:
    """The prompt of each region, and the instruction without demos that is best everywhere.

    `instructions` has the empty one among them; `sets` has each region's sets of demos (all regions have
    the same names), `samples` its validation demos, which may be none: then what is best everywhere is
    taken. A prompt that did not fit the context is out; raises MixtureError when not even the plain prompt
    ever fitted.
    """
    candidates = [Candidate(each, name) for each in instructions for name in sets[0]]
    asked = [
        (Prompt(candidate.instruction, sets[region][candidate.demo_set]), demo)
        for region in range(len(sets))
        for candidate in candidates
        for demo in samples[region]
    ]
    trials = iter(await examiner.trials("joint search", asked))
    columns: list[list[list[Trial | None]]] = [
        [[next(trials) for _ in samples[region]] for _ in candidates] for region in range(len(sets))
    ]
    table = _Table(candidates, columns, examiner.config)
    if not table.fitted(PLAIN_CANDIDATE):
        raise MixtureError("the model's context holds none of the demos' inputs: its context is too small")
    found = [table.best(region, sets[region]) for region in range(len(sets))]
    return found, Prompt(table.best_everywhere(instructions))


def strength(scores: Scores, regions: Indices) -> float | None:
    """How many samples the mean over all regions is worth beside a region's own; `scores` (prompts, n) are
    of the samples whose regions are `regions` (n,). None when one cannot tell: one region, or no region with
    two samples.

    Empirical Bayes by moments (one-way analysis of variance): what one region's samples vary by over what
    regions vary by. Samples count by their difference from the mean over prompts: that a region is hard for
    all prompts does not make another prompt right for it.
    """
    sizes = np.bincount(regions)
    sizes = sizes[sizes > 0]
    count, total = len(sizes), len(regions)
    if count < 2 or total == count:
        return None
    own = scores - scores.mean(axis=0)
    labels = np.unique(regions)
    means = np.stack([own[:, regions == label].mean(axis=1) for label in labels], axis=1)
    spread = own - means[:, np.searchsorted(labels, regions)]
    within = float((spread**2).sum() / (total - count))
    between = float((sizes * (means - own.mean(axis=1, keepdims=True)) ** 2).sum() / (count - 1))
    usual_size = (total - float((sizes**2).sum()) / total) / (count - 1)
    differ = (between - within) / usual_size
    if differ <= 0:
        return MOST_STRENGTH
    return float(np.clip(within / differ, LEAST_STRENGTH, MOST_STRENGTH))


class _Table:
    """Trials of candidates (rows) on validation demos (columns), region after region."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        columns: Sequence[Sequence[Sequence[Trial | None]]],
        config: BuildConfig,
    ) -> None:
        rows = [[trial for region in columns for trial in region[each]] for each in range(len(candidates))]
        sizes = [len(region[0]) for region in columns]
        # What did not fit counts as wrong: that is what would be answered.
        self._scores: Scores = np.asarray([[trial.score if trial else 0.0 for trial in row] for row in rows])
        self._tokens = np.asarray([[trial.tokens if trial else np.nan for trial in row] for row in rows])
        self._regions: Indices = np.repeat(np.arange(len(columns)), sizes)
        self._candidates = list(candidates)
        self._plain = self._candidates.index(PLAIN_CANDIDATE)
        self._config = config
        known = config.shrinkage
        if known is None:
            known = strength(self._scores, self._regions)
        self.strength = config.prior_samples if known is None else known

    def fitted(self, candidate: Candidate) -> bool:
        """Whether the candidate ever fitted the context."""
        return bool(np.isfinite(self._tokens[self._candidates.index(candidate)]).any())

    def best(self, region: int, sets: Mapping[str, tuple[Demo, ...]]) -> Found:
        """The candidate of best value; of equals the plain one, then that of fewer tokens, then the
        earlier."""
        here = self._regions == region
        estimates = self._estimates(here)
        extra = self._extra_tokens(here)
        # Tokens saved are no gain: a prompt has to answer better than none.
        price = self._config.token_weight * np.maximum(extra, 0.0) / 1000
        values: Scores = np.round(estimates - price, 9)
        possible = [row for row in range(len(values)) if row == self._plain or self._fits(row, here)]
        chosen = min(
            possible, key=lambda row: (-values[row], row != self._plain, round(float(extra[row]), 6), row)
        )
        candidate = self._candidates[chosen]
        return Found(
            Prompt(candidate.instruction, sets[candidate.demo_set]),
            candidate.demo_set,
            int(here.sum()),
            float(estimates[chosen]),
            float(estimates[self._plain]),
            float(extra[chosen]),
        )

    def best_everywhere(self, instructions: Sequence[str]) -> str:
        """The instruction of best value over all regions without demos, by the same rules."""

        def value(instruction: str) -> float:
            row = self._candidates.index(Candidate(instruction, NO_DEMOS))
            price = self._config.token_weight * len(instruction) / CHARS_PER_TOKEN / 1000
            return round(float(self._scores[row].mean()) - price, 9)

        return min(instructions, key=lambda each: (-value(each), len(each), each))

    def _estimates(self, here: NDArray[np.bool_]) -> Scores:
        """Each candidate's mean in a region, drawn to its mean everywhere."""
        everywhere: Scores = self._scores.mean(axis=1)
        weight = int(here.sum()) + self.strength
        if not weight:
            return everywhere
        drawn: Scores = (self._scores[:, here].sum(axis=1) + self.strength * everywhere) / weight
        return drawn

    def _extra_tokens(self, here: NDArray[np.bool_]) -> Scores:
        """What each candidate adds to the plain request's tokens: on this region's samples, or on all where
        it has none."""
        columns = here if here.any() else np.ones_like(here)
        added = self._tokens[:, columns] - self._tokens[self._plain, columns]
        known = np.isfinite(added)
        mean: Scores = np.where(known, added, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        return mean

    def _fits(self, row: int, here: NDArray[np.bool_]) -> bool:
        """Whether the candidate fitted wherever the plain request did."""
        plain = np.isfinite(self._tokens[self._plain, here])
        return bool((np.isfinite(self._tokens[row, here]) | ~plain).all())
