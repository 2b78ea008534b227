"""What a mixture measured on demos that nothing was chosen on: beside the plain prompt, with intervals."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from prompts.mixture.demos import Demo
from prompts.mixture.examining import Examiner, Trial
from prompts.mixture.layout import PLAIN
from prompts.mixture.mixture import Matrix, Mixture

Z = 1.959963984540054
"""Of 95% intervals."""


def wilson(right: float, count: int) -> tuple[float, float]:
    """The 95% interval of a share after Wilson (1927), good for small counts; (0, 1) without any."""
    if count == 0:
        return 0.0, 1.0
    share = right / count
    middle = share + Z**2 / (2 * count)
    half = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    scale = 1 + Z**2 / count
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


async def held_out_evidence(
    mixture: Mixture, demos: Sequence[Demo], embeddings: Matrix, examiner: Examiner
) -> dict[str, Any]:
    """Accuracy of the mixture and of the plain prompt on `demos`, over all and by region; far requests
    count under `fallback`. Shares are 0..1, intervals hold 95%."""
    choices = [mixture.choose(np.asarray(row, dtype=np.float32)) for row in embeddings]
    asked = [(mixture.prompt(choice), demo) for choice, demo in zip(choices, demos, strict=True)]
    order = sorted(range(len(demos)), key=lambda each: (_last(choices[each].region), each))
    mixed = await examiner.trials("measuring", [asked[each] for each in order])
    plain = await examiner.trials("measuring", [(PLAIN, demos[each]) for each in order])
    regions = [choices[each].region for each in order]
    rows = list(zip(regions, mixed, plain, strict=True))
    by_region = [_row([row for row in rows if row[0] == number]) for number in range(len(mixture.regions))]
    return {
        "all": _row(rows),
        "regions": by_region,
        "fallback": _row([row for row in rows if row[0] is None]),
    }


def _last(region: int | None) -> float:
    return math.inf if region is None else region


def _row(rows: Sequence[tuple[int | None, Trial | None, Trial | None]]) -> dict[str, Any]:
    return {
        "demos": len(rows),
        "mixture": _share([mixed for _, mixed, _ in rows]),
        "plain": _share([plain for _, _, plain in rows]),
    }


def _share(trials: Sequence[Trial | None]) -> dict[str, Any] | None:
    if not trials:
        return None
    right = sum(trial.score for trial in trials if trial is not None)
    low, high = wilson(right, len(trials))
    return {"accuracy": round(right / len(trials), 4), "interval": [round(low, 4), round(high, 4)]}
