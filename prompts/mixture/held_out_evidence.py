"""Accuracy of a mixture and of the plain prompt on held-out demos, with intervals."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from prompts.mixture.demos import Demo
from prompts.mixture.layout import PLAIN
from prompts.mixture.mixture import Matrix, Mixture
from prompts.mixture.prompt_scoring import PromptScorer, ScoredAnswer

Z = 1.959963984540054
"""Normal quantile of 95 % intervals."""


def wilson(right: float, count: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of right/count; (0, 1) for count 0."""
    if count == 0:
        return 0.0, 1.0
    share = right / count
    middle = share + Z**2 / (2 * count)
    half = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    scale = 1 + Z**2 / count
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


async def held_out_evidence(
    mixture: Mixture, demos: Sequence[Demo], embeddings: Matrix, scorer: PromptScorer
) -> dict[str, Any]:
    """Accuracy (0..1) with 95 % intervals on `demos`, overall, by region, and for the fallback."""
    choices = [mixture.choose(np.asarray(row, dtype=np.float32)) for row in embeddings]
    asked = [(mixture.prompt(choice), demo) for choice, demo in zip(choices, demos, strict=True)]
    regions_of = [math.inf if choice.region is None else choice.region for choice in choices]
    order = sorted(range(len(demos)), key=lambda each: (regions_of[each], each))
    mixed = await scorer.score("measuring", [asked[each] for each in order])
    plain = await scorer.score("measuring", [(PLAIN, demos[each]) for each in order])
    regions = [choices[each].region for each in order]
    rows = list(zip(regions, mixed, plain, strict=True))
    by_region = [_row([row for row in rows if row[0] == number]) for number in range(len(mixture.regions))]
    return {
        "all": _row(rows),
        "regions": by_region,
        "fallback": _row([row for row in rows if row[0] is None]),
    }


def _row(rows: Sequence[tuple[int | None, ScoredAnswer | None, ScoredAnswer | None]]) -> dict[str, Any]:
    return {
        "demos": len(rows),
        "mixture": _share([mixed for _, mixed, _ in rows]),
        "plain": _share([plain for _, _, plain in rows]),
    }


def _share(trials: Sequence[ScoredAnswer | None]) -> dict[str, Any] | None:
    if not trials:
        return None
    right = sum(trial.score for trial in trials if trial is not None)
    low, high = wilson(right, len(trials))
    return {"accuracy": round(right / len(trials), 4), "interval": [round(low, 4), round(high, 4)]}
