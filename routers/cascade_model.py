"""When the cheap expert's answer is good enough: confidence from signals, and the threshold fitted to a cost.

A cascade asks a weak expert first and a strong one when the weak one's answer is not trusted. How far it
is trusted is a logistic model of the answer's signals, fitted on outcomes (was the weak answer right?),
and the threshold is the one that spends the cost it was given. Knows nothing of how signals are read.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from base.json_documents import write_json

Floats = npt.NDArray[np.float64]

Signal = Literal["mean", "tail", "dispersion", "agreement", "verifier"]
SIGNS: Mapping[str, float] = {"mean": 1, "tail": 1, "dispersion": -1, "agreement": 1, "verifier": 1}
"""The signals a model may use; whether more of one may speak for an answer (1) or against it (-1)."""


def _rightly_signed(weights: dict[Signal, float]) -> dict[Signal, float]:
    for name, weight in weights.items():
        if SIGNS[name] * weight < 0:
            sign = "negative" if SIGNS[name] > 0 else "positive"
            raise PydanticCustomError(
                "weights", "the weight of {name} must not be {sign}", {"name": name, "sign": sign}
            )
    return weights


Weights = Annotated[dict[Signal, float], AfterValidator(_rightly_signed)]
"""By signal. Whoever stops reading once nothing can change the verdict relies on their signs."""

RIDGE = 0.01
"""Pulls the weights of standardised signals to zero: tables of outcomes are small."""
STEPS = 2_000
WINDOW = 64
"""Tokens of the weak answer that are read; what follows them is not waited for."""
UNFITTED_THRESHOLD = 0.8


class CascadeError(Exception):
    """A cascade cannot be fitted, or its file cannot be read; the message says why."""


class CascadeModel(BaseModel):
    """How far one weak expert is trusted before one strong one is asked.

    The confidence is the probability that the weak answer is right, σ(bias + Σ weight·signal); an answer
    is accepted at `threshold` or above. Without weights nothing was fitted: the confidence is then
    exp(mean), the geometric mean of the token probabilities, times agreement and verifier.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    weak: str
    strong: str
    threshold: Annotated[float, Field(ge=0, le=1.000001)] = UNFITTED_THRESHOLD
    weights: Weights = {}
    bias: float = 0.0
    window: Annotated[int, Field(ge=1, le=100_000)] = WINDOW
    fitted_on: Annotated[int, Field(ge=0)] = 0
    """Outcomes that it was fitted on."""
    target_cost: float | None = None
    """Mean cost a request that the threshold was chosen for, in `cost_unit`."""
    cost_unit: str = ""

    @property
    def fitted(self) -> bool:
        return bool(self.weights)

    def needs(self) -> frozenset[str]:
        """The signals without which there is no confidence."""
        return frozenset(self.weights) if self.fitted else frozenset({"mean"})

    def confidence(self, signals: Mapping[str, float | None]) -> float | None:
        """0..1; None when a signal that it needs is not known."""
        if any(signals.get(name) is None for name in self.needs()):
            return None
        if not self.fitted:
            found = math.exp(signals["mean"] or 0.0)
            for name in ("agreement", "verifier"):
                value = signals.get(name)
                found *= 1.0 if value is None else value
            return found
        return _sigmoid(self.bias + sum(w * (signals[name] or 0.0) for name, w in self.weights.items()))


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What happened to prompts that both experts answered. One row a prompt.

    `signals`: those of the weak answer, one array a name; `weak` and `strong`: scores, 0..1;
    `weak_cost` and `strong_cost`: what each answer cost, any one unit. Accepting costs the weak answer,
    escalating both.
    """

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
    """What a threshold brings: mean score and cost, and the share of requests the strong expert answers."""

    threshold: float
    score: float
    cost: float
    escalated: float


def fit_cascade(
    weak: str, strong: str, outcomes: Outcomes, target_cost: float, *, cost_unit: str, window: int = WINDOW
) -> CascadeModel:
    """The model of `outcomes` with the highest threshold whose mean cost is at most `target_cost`.

    Raises CascadeError when no threshold can reach the target: the weak expert alone costs more.
    """
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
        window=window,
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


def choose_threshold(model: CascadeModel, outcomes: Outcomes, target_cost: float) -> float:
    """The highest threshold whose mean cost on `outcomes` is at most `target_cost`. Raises CascadeError."""
    sure = confidences(model, outcomes.signals)
    best: float | None = None
    # Between neighbouring confidences nothing changes; the last candidate accepts nothing.
    for threshold in [0.0, *sorted(set(sure.tolist())), 1.000001]:
        if evaluate_threshold(threshold, sure, outcomes).cost <= target_cost:
            best = threshold
    if best is None:
        least = evaluate_threshold(0.0, sure, outcomes).cost
        raise CascadeError(f"no threshold costs {target_cost:g} or less: {model.weak} alone costs {least:g}")
    return best


def evaluate_threshold(threshold: float, sure: Floats, outcomes: Outcomes) -> CascadePoint:
    """What `threshold` brings on `outcomes` whose confidences are `sure`; unknown ones escalate."""
    escalate = ~(sure >= threshold)
    return CascadePoint(
        threshold=threshold,
        score=float(np.where(escalate, outcomes.strong, outcomes.weak).mean()),
        cost=float((outcomes.weak_cost + np.where(escalate, outcomes.strong_cost, 0.0)).mean()),
        escalated=float(escalate.mean()),
    )


def _logistic(table: Floats, right: Floats, signs: Floats) -> tuple[Floats, float]:
    """Weights and bias of p(right), by projected gradient: no weight may have the other sign than its
    signal's, so that more confidence never lowers the verdict. `right` may be fractions."""
    centre, spread = table.mean(axis=0), table.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    features = (table - centre) / spread
    weights, bias = np.zeros(table.shape[1]), _logit(float(right.mean()))
    # The Hessian of the mean log-loss is at most ¼·XᵀX/n, so this step never overshoots.
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


class _CascadeFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    cascades: tuple[CascadeModel, ...] = ()


def load_cascades(path: Path) -> tuple[CascadeModel, ...]:
    """The models of a file. Raises CascadeError with the file and the field."""
    try:
        return _CascadeFile.model_validate_json(path.read_bytes()).cascades
    except OSError as error:
        raise CascadeError(f"{path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise CascadeError(f"{path}: {where or 'the file'}: {first['msg']}") from error


def save_cascades(models: Sequence[CascadeModel], path: Path) -> None:
    """Write `models`; the file is whole or not there."""
    document: dict[str, Any] = _CascadeFile(cascades=tuple(models)).model_dump(mode="json")
    write_json(document, path)
