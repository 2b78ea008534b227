"""Fitting when a cheap answer is good enough."""

import numpy as np
import pytest

from routers.cascade_model import (
    CascadeError,
    CascadeModel,
    CascadeOutcomes,
    confidences,
    evaluate_threshold,
    fit_cascade,
)


def outcomes(rows: int = 400, seed: int = 0) -> CascadeOutcomes:
    """The weak answer is right the more often the higher its mean log-probability; the strong one at 0.8."""
    random = np.random.default_rng(seed)
    mean = random.uniform(-2, 0, rows)
    noise = random.uniform(-5, 0, rows)
    right = random.random(rows) < 1 / (1 + np.exp(-(3 + 4 * mean)))
    strong = random.random(rows) < 0.8
    ones = np.ones(rows)
    signals = {"mean": mean, "tail": noise}
    return CascadeOutcomes(signals, right.astype(float), strong.astype(float), ones, 10 * ones)


def fitted(target: float = 5.0) -> CascadeModel:
    return fit_cascade("small", "large", outcomes(), target, cost_unit="B")


@pytest.mark.parametrize("target", [1.0, 3.0, 6.0, 11.0])
def test_the_threshold_spends_its_target_and_no_more(target: float) -> None:
    table = outcomes()
    model = fit_cascade("small", "large", table, target, cost_unit="B")
    point = evaluate_threshold(model.threshold, confidences(model, table.signals), table)
    assert point.cost <= target
    assert point.cost > target - 0.1
    assert point.cost == pytest.approx(1 + 10 * point.escalated)


def test_the_fit_finds_the_signal_that_tells_and_beats_chance_on_new_rows() -> None:
    model, new = fitted(), outcomes(seed=1)
    assert model.weights["mean"] > 10 * abs(model.weights["tail"])
    point = evaluate_threshold(model.threshold, confidences(model, new.signals), new)
    blind = (1 - point.escalated) * new.weak.mean() + point.escalated * new.strong.mean()
    assert point.score > blind + 0.05


def test_more_of_a_good_signal_never_lowers_the_confidence() -> None:
    table = outcomes()
    backwards = {"mean": -2 - table.signals["mean"]}
    table = CascadeOutcomes(backwards, table.weak, table.strong, table.weak_cost, table.strong_cost)
    model = fit_cascade("small", "large", table, 100, cost_unit="B")
    assert model.weights["mean"] == 0


def test_a_target_below_the_weak_experts_own_cost_is_refused() -> None:
    with pytest.raises(CascadeError, match="small alone costs 1"):
        fitted(0.5)


def test_too_few_outcomes_or_unknown_signals_are_refused() -> None:
    with pytest.raises(CascadeError, match="too few"):
        fit_cascade("a", "b", outcomes(5), 5, cost_unit="B")
    table = outcomes()
    table.signals["mean"][3] = np.nan
    with pytest.raises(CascadeError, match="lack a signal"):
        fit_cascade("a", "b", table, 5, cost_unit="B")


def test_an_unknown_signal_leaves_the_confidence_unknown() -> None:
    assert fitted().confidence({"mean": -0.1}) is None
    assert CascadeModel(weak="a", strong="b").confidence({"mean": None}) is None


def test_without_a_fit_the_confidence_is_the_mean_probability() -> None:
    model = CascadeModel(weak="a", strong="b")
    assert model.confidence({"mean": 0.0}) == 1
    assert model.confidence({"mean": np.log(0.5)}) == pytest.approx(0.5)
