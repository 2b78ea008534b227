"""A router's scores beside those of a rival on the same prompts, where both are known."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.rating.resampling import interval, resampled_means

ROUNDS = 2000
"""Bootstrap resamples."""

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScoreDifference:
    """A paired difference in mean score with its 95 % bootstrap interval."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Answered:
    """Per prompt a `score`, 0..1, and the `compute` of the answer, B·tokens; NaN unknown."""

    score: Scores
    compute: Scores

    @classmethod
    def scored(cls, score: Scores) -> "Answered":
        """With unknown compute."""
        return cls(score, np.full_like(score, np.nan))

    def take(self, rows: npt.NDArray[Any]) -> "Answered":
        return Answered(self.score[rows], self.compute[rows])


@dataclass(frozen=True, slots=True)
class Comparison:
    """On the `n` prompts where both are known: the mean score of ours and of the rival, ours minus theirs,
    and our compute as a multiple of theirs, None unknown."""

    n: int
    ours: float
    theirs: float
    difference: ScoreDifference
    compute_ratio: float | None

    def document(self) -> dict[str, Any]:
        gap = self.difference
        return {
            "n": self.n,
            "difference": gap.difference,
            "low": gap.low,
            "high": gap.high,
            "compute_ratio": self.compute_ratio,
        }


@dataclass(frozen=True, slots=True)
class CategoryComparison:
    """One category's comparison, None where no prompt has both, and how many prompts went to each expert."""

    category: str
    comparison: Comparison | None
    experts: tuple[tuple[str, int], ...]

    def document(self) -> dict[str, Any]:
        found = self.comparison
        known = {} if found is None else {"score": found.ours, "rival": found.theirs, **found.document()}
        return {"category": self.category, "n": 0, **known, "experts": dict(self.experts)}


def compare(ours: Answered, theirs: Answered, seed: int = 0) -> Comparison | None:
    """None if no prompt has both scores."""
    both = ~np.isnan(ours.score) & ~np.isnan(theirs.score)
    if not both.any():
        return None
    ours, theirs = ours.take(both), theirs.take(both)
    counted = ~np.isnan(ours.compute) & ~np.isnan(theirs.compute)
    base = float(theirs.compute[counted].sum())
    return Comparison(
        int(both.sum()),
        float(ours.score.mean()),
        float(theirs.score.mean()),
        paired_interval(ours.score, theirs.score, seed),
        float(ours.compute[counted].sum()) / base if base else None,
    )


def compare_by_category(
    ours: Answered, theirs: Answered, categories: Sequence[str], experts: Sequence[str], seed: int = 0
) -> tuple[CategoryComparison, ...]:
    """By each prompt's category, sorted; `experts` names who answered each prompt for us."""
    of, chosen = np.asarray(categories), np.asarray(experts)
    return tuple(
        CategoryComparison(
            str(name),
            compare(ours.take(of == name), theirs.take(of == name), seed),
            tuple(Counter(chosen[of == name].tolist()).most_common()),
        )
        for name in np.unique(of)
    )


def paired_interval(ours: Scores, theirs: Scores, seed: int = 0) -> ScoreDifference:
    """The mean of ours - theirs over prompts, with its 95 % percentile bootstrap interval."""
    differences = (ours - theirs).astype(np.float64)
    low, high = interval(resampled_means(differences[:, None], ROUNDS, seed), 0.95)
    return ScoreDifference(float(differences.mean()), float(low[0]), float(high[0]))
