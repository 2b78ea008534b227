"""Paired comparisons of two models by their score differences per question. The variance of repeated
judgments is not included."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eval.rating.resampling import CELLS, Floats, interval, resampled_means


@dataclass(frozen=True, slots=True)
class Comparison:
    """`first` minus `second` over `n` questions that both answered, in the unit of their scores."""

    first: str
    second: str
    n: int
    difference: float
    low: float
    high: float
    """Bootstrap limits of `difference`."""
    p_permutation: float
    """Two-sided sign-flip permutation test."""
    p_sign: float
    """Two-sided exact sign test."""
    better: int
    worse: int
    equal: int
    minimum_detectable: float | None
    """Minimum detectable difference for this n and power; None for n = 1."""

    def document(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    first: tuple[str, Floats],
    second: tuple[str, Floats],
    *,
    rounds: int = 1000,
    flips: int = 10_000,
    confidence: float = 0.95,
    power: float = 0.8,
    seed: int = 0,
) -> Comparison:
    """Compare (name, scores (questions,)) of two models on the same questions in the same order. Raises
    ValueError without questions."""
    (name, ours), (other, theirs) = first, second
    differences = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    n = len(differences)
    if not n:
        raise ValueError(f"{name} and {other} share no question")
    low, high = interval(resampled_means(differences[:, None], rounds, seed), confidence)
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    return Comparison(
        first=name,
        second=other,
        n=n,
        difference=float(differences.mean()),
        low=float(low[0]),
        high=float(high[0]),
        p_permutation=permutation_test(differences, flips, seed),
        p_sign=sign_test(better, worse),
        better=better,
        worse=worse,
        equal=n - better - worse,
        minimum_detectable=minimum_detectable_difference(
            float(differences.std(ddof=1)), n, power, 1 - confidence
        )
        if n > 1
        else None,
    )


def permutation_test(differences: Floats, flips: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of mean 0 by random sign flips; never 0 (Phipson & Smyth 2010)."""
    random = np.random.default_rng(seed)
    # Verdicts take few values: one binomial draw per distinct value.
    sizes, counts = np.unique(np.round(np.abs(differences), 12), return_counts=True)
    seen = abs(float(np.round(differences, 12).sum())) - 1e-9
    block = max(1, CELLS // len(sizes))
    extreme = 0
    for start in range(0, flips, block):
        size = min(block, flips - start)
        kept = random.binomial(counts, 0.5, size=(size, len(sizes)))
        extreme += int((np.abs((2 * kept - counts) @ sizes) >= seen).sum())
    return (extreme + 1) / (flips + 1)


def sign_test(better: int, worse: int) -> float:
    """Two-sided exact binomial p-value; 1 when both are 0."""
    from scipy.stats import binomtest

    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0


def minimum_detectable_difference(
    deviation: float, n: int, power: float = 0.8, significance: float = 0.05
) -> float:
    """(z_{1-α/2} + z_power)·σ/√n with σ the standard `deviation` of the differences (Cohen 1988, §2; Miller
    2024, arXiv 2411.00640, §5)."""
    return _quantiles(power, significance) * deviation / float(np.sqrt(n))


def questions_needed(
    difference: float, deviation: float, power: float = 0.8, significance: float = 0.05
) -> int:
    """The number of questions for which `difference` is the minimum detectable one."""
    return int(np.ceil((_quantiles(power, significance) * deviation / difference) ** 2))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for multiple testing (Holm 1979, Scandinavian Journal of Statistics 6)."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return [float(each) for each in adjusted]


def _quantiles(power: float, significance: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(1 - significance / 2) + norm.ppf(power))
