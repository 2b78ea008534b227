"""When a cascade accepts the weak expert's answer: logistic regression on confidence signals of the answer,
with the acceptance threshold chosen for a target mean cost. How signals are measured is not known here."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from base.strict_model import StrictModel

Floats = npt.NDArray[np.float64]

Signal = Literal["mean", "tail", "dispersion"]
SIGNS: Mapping[str, float] = {"mean": 1, "tail": 1, "dispersion": -1}
"""The signals a model may use, with the sign their weight may have."""


def _check_signs(weights: dict[Signal, float]) -> dict[Signal, float]:
    for name, weight in weights.items():
        if SIGNS[name] * weight < 0:
            sign = "negative" if SIGNS[name] > 0 else "positive"
            raise PydanticCustomError(
                "weights", "the weight of {name} must not be {sign}", {"name": name, "sign": sign}
            )
    return weights


Weights = Annotated[dict[Signal, float], AfterValidator(_check_signs)]
"""By signal."""

RIDGE = 0.01
"""L2 penalty on the weights of standardised signals."""
STEPS = 2_000
UNFITTED_THRESHOLD = 0.8


class CascadeError(Exception):
    """A cascade cannot be fitted; the message says why."""


class CascadeModel(StrictModel):
    """P(weak answer is right) = σ(bias + Σ weight·signal); answers at `threshold` or above are accepted.

    Without weights (not fitted) it is exp(mean), the geometric mean of the token probabilities.
    """

    weak: str
    strong: str
    threshold: Annotated[float, Field(ge=0, le=1.000001)] = UNFITTED_THRESHOLD
    weights: Weights = Field(default_factory=dict)
    bias: float = 0.0
    fitted_on: Annotated[int, Field(ge=0)] = 0
    """Number of outcomes."""
    target_cost: float | None = None
    """Target mean cost per request, in `cost_unit`."""
    cost_unit: str = ""

    @property
    def fitted(self) -> bool:
        return bool(self.weights)

    def needs(self) -> frozenset[str]:
        """The signals that `confidence` requires."""
        return frozenset(self.weights) if self.fitted else frozenset({"mean"})

    def confidence(self, signals: Mapping[str, float | None]) -> float | None:
        """0..1; None when a required signal is missing."""
        if any(signals.get(name) is None for name in self.needs()):
            return None
        if not self.fitted:
            return math.exp(signals["mean"] or 0.0)
        return _sigmoid(self.bias + sum(w * (signals[name] or 0.0) for name, w in self.weights.items()))


@dataclass(frozen=True, slots=True)
class CascadeOutcomes:
    """Prompts that both experts answered; arrays (prompts,): `signals` of the weak answer by name, scores
    0..1 and costs (any one unit) of both answers. Accepting costs the weak answer, escalating both."""

    signals: Mapping[str, Floats]
    weak: Floats
    strong: Floats
    weak_cost: Floats
    strong_cost: Floats

    def __post_init__(self) -> None:
        lengths = {len(each) for each in (self.weak, self.strong, self.weak_cost, self.strong_cost)}
        lengths |= {len(each) for each in self.signals.values()}
        if len(lengths) != 1:
            raise ValueError(f"outcomes of different lengths: {sorted(lengths)}")


@dataclass(frozen=True, slots=True)
class CascadePoint:
    """Mean score, mean cost and escalation rate at a threshold."""

    threshold: float
    score: float
    cost: float
    escalated: float


def fit_cascade(
    weak: str,
    strong: str,
    outcomes: CascadeOutcomes,
    target_cost: float,
    *,
    cost_unit: str,
) -> CascadeModel:
    """Fit on `outcomes`, with the highest threshold of mean cost at most `target_cost`. Raises CascadeError
    when there are too few outcomes or the weak expert alone costs more."""
    rows = len(outcomes.weak)
    names = [name for name in SIGNS if name in outcomes.signals]
    if rows < 10 or not names:
        raise CascadeError(f"{rows} outcomes with {len(names)} signals are too few: 10 and one at least")
    table = np.column_stack([outcomes.signals[name] for name in names]).astype(np.float64)
    if not np.isfinite(table).all():
        raise CascadeError("some answers lack a signal: leave those rows, or that signal, out")
    weights, bias = _logistic(table, outcomes.weak, np.asarray([SIGNS[name] for name in names]))
    model = CascadeModel(
        weak=weak,
        strong=strong,
        weights=dict(zip(names, (float(w) for w in weights), strict=True)),
        bias=float(bias),
        fitted_on=rows,
        target_cost=target_cost,
        cost_unit=cost_unit,
    )
    return model.model_copy(update={"threshold": choose_threshold(model, outcomes, target_cost)})


def confidences(model: CascadeModel, signals: Mapping[str, Floats]) -> Floats:
    """The model's confidence for each row of `signals`."""
    rows = len(next(iter(signals.values())))
    found = [model.confidence({name: float(v[row]) for name, v in signals.items()}) for row in range(rows)]
    return np.asarray([np.nan if each is None else each for each in found], dtype=np.float64)


def choose_threshold(model: CascadeModel, outcomes: CascadeOutcomes, target_cost: float) -> float:
    """The highest threshold whose mean cost on `outcomes` is at most `target_cost`. Raises CascadeError."""
    sure = confidences(model, outcomes.signals)
    best: float | None = None
    # Only the observed confidences matter; the last candidate accepts nothing.
    for threshold in [0.0, *sorted(set(sure.tolist())), 1.000001]:
        if evaluate_threshold(threshold, sure, outcomes).cost <= target_cost:
            best = threshold
    if best is None:
        least = evaluate_threshold(0.0, sure, outcomes).cost
        raise CascadeError(f"no threshold costs {target_cost:g} or less: {model.weak} alone costs {least:g}")
    return best


def evaluate_threshold(threshold: float, sure: Floats, outcomes: CascadeOutcomes) -> CascadePoint:
    """Score and cost of `threshold` on `outcomes` with confidences `sure`; NaN escalates."""
    escalate = ~(sure >= threshold)
    return CascadePoint(
        threshold=threshold,
        score=float(np.where(escalate, outcomes.strong, outcomes.weak).mean()),
        cost=float((outcomes.weak_cost + np.where(escalate, outcomes.strong_cost, 0.0)).mean()),
        escalated=float(escalate.mean()),
    )


def _logistic(table: Floats, right: Floats, signs: Floats) -> tuple[Floats, float]:
    """Sign-constrained logistic regression by projected gradient descent; `right` may be fractional."""
    centre, spread = table.mean(axis=0), table.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    features = (table - centre) / spread
    weights, bias = np.zeros(table.shape[1]), _logit(float(right.mean()))
    # The Hessian of the mean log-loss is at most ¼·XᵀX/n.
    step = 1.0 / (0.25 * (1 + float((features**2).sum(axis=1).mean())) + RIDGE)
    for _ in range(STEPS):
        wrong = 1 / (1 + np.exp(-(features @ weights + bias))) - right
        weights = weights - step * (features.T @ wrong / len(right) + RIDGE * weights)
        weights = np.where(signs * weights > 0, weights, 0.0)
        bias -= step * float(wrong.mean())
    scaled = weights / spread
    return scaled, float(bias - scaled @ centre)


def _logit(p: float) -> float:
    p = min(0.99, max(0.01, p))
    return math.log(p / (1 - p))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0
