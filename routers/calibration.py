"""Calibration: temperature scaling, expected calibration error, risk-coverage curves (Guo et al. 2017,
arXiv 1706.04599; El-Yaniv & Wiener 2010)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from routers.request import Matrix

BINS = 15
"""Of confidence, in calibration errors and reliability diagrams."""


def softmax(logits: Matrix, temperature: float = 1.0) -> Matrix:
    """Rows of `logits`/temperature as probabilities that sum to one."""
    scaled = logits / temperature
    scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: Matrix = scaled / scaled.sum(axis=1, keepdims=True)
    return probabilities


def fit_temperature(logits: Matrix, labels: npt.NDArray[np.int64]) -> float:
    """The temperature (0.05..20) that minimises log-loss on held-out `logits` (rows, categories)."""
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        chosen = softmax(logits, float(np.exp(log_temperature)))[rows, labels]
        return float(-np.log(np.maximum(chosen, 1e-12)).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


def expected_calibration_error(confidence: npt.NDArray[np.floating], correct: npt.NDArray[np.bool_]) -> float:
    """Mean |accuracy - confidence| over BINS equal-width bins, weighted by their size; 0 is perfect."""
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [
        abs(correct[bin_of == each].mean() - confidence[bin_of == each].mean()) * (bin_of == each).sum()
        for each in np.unique(bin_of)
    ]
    return float(sum(gaps) / len(confidence))


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Share of requests accepted, by falling confidence, and error rate among those."""

    threshold: npt.NDArray[np.float64]
    coverage: npt.NDArray[np.float64]
    risk: npt.NDArray[np.float64]

    @property
    def area(self) -> float:
        """Mean risk over all coverages (AURC), 0 is perfect."""
        return float(self.risk.mean())


def risk_coverage(confidence: npt.NDArray[np.floating], correct: npt.NDArray[np.bool_]) -> RiskCoverage:
    """The selective-classification curve; arrays as long as the input, surest first."""
    order = np.argsort(-confidence, kind="stable")
    accepted = np.arange(1, len(order) + 1)
    risk = np.cumsum(~correct[order]) / accepted
    return RiskCoverage(confidence[order].astype(np.float64), accepted / len(order), risk)


def threshold_for_accuracy(
    confidence: npt.NDArray[np.floating], correct: npt.NDArray[np.bool_], accuracy: float
) -> float:
    """The lowest threshold at which the accepted requests have at least `accuracy`; 1.0 if none has."""
    curve = risk_coverage(confidence, correct)
    # A threshold accepts all ties; 1e-12 absorbs rounding.
    last_of_equals = np.append(np.diff(curve.threshold) != 0, True)
    good = np.flatnonzero(last_of_equals & (1 - curve.risk >= accuracy - 1e-12))
    return float(curve.threshold[good[-1]]) if len(good) else 1.0
