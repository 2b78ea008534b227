"""Probabilities mean what they say, and thresholds hold what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.calibration import (
    expected_calibration_error,
    fit_temperature,
    risk_coverage,
    softmax,
    threshold_for_accuracy,
)

Judged = list[tuple[float, bool]]
judged: st.SearchStrategy[Judged] = st.lists(
    st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9, 0.99]), st.booleans()), min_size=1, max_size=40
)


def columns(rows: Judged) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray([c for c, _ in rows]), np.asarray([right for _, right in rows])


@given(
    st.lists(st.lists(st.floats(-500, 500), min_size=4, max_size=4), min_size=1, max_size=5),
    st.floats(0.05, 20),
)
def test_softmax_gives_probabilities_that_sum_to_one(logits: list[list[float]], temperature: float) -> None:
    probabilities = softmax(np.asarray(logits, dtype=np.float32), temperature)
    assert np.all((probabilities >= 0) & (probabilities <= 1))
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_a_higher_temperature_is_less_sure_and_keeps_the_order() -> None:
    logits = np.asarray([[3.0, 1.0, 0.0]], dtype=np.float32)
    cold, hot = softmax(logits, 0.5)[0], softmax(logits, 4)[0]
    assert cold[0] > hot[0]
    assert hot[0] > hot[1] > hot[2]


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_the_fitted_temperature_is_the_one_that_the_labels_were_drawn_with(true_temperature: float) -> None:
    random = np.random.default_rng(7)
    logits = random.normal(0, 3, size=(6_000, 4)).astype(np.float32)
    drawn = softmax(logits, true_temperature).cumsum(axis=1)
    labels = (random.random((6_000, 1)) > drawn).sum(axis=1).clip(0, 3)
    assert fit_temperature(logits, labels) == pytest.approx(true_temperature, rel=0.06)


def test_calibration_error_is_zero_when_confidence_is_accuracy() -> None:
    assert expected_calibration_error(np.full(4, 0.75), np.asarray([1, 1, 1, 0], dtype=bool)) == 0


def test_calibration_error_weighs_the_gap_of_each_bin_by_its_size() -> None:
    # Three at 0.9, all wrong (gap 0.9), and one at 0.5, right (gap 0.5).
    confidence = np.asarray([0.9, 0.9, 0.9, 0.5])
    correct = np.asarray([False, False, False, True])
    assert expected_calibration_error(confidence, correct) == pytest.approx((3 * 0.9 + 0.5) / 4)


def test_full_confidence_falls_into_the_last_bin() -> None:
    assert expected_calibration_error(np.asarray([1.0]), np.asarray([True])) == 0


def test_risk_coverage_accepts_the_surest_first() -> None:
    curve = risk_coverage(np.asarray([0.2, 0.9, 0.6]), np.asarray([False, True, False]))
    assert curve.threshold.tolist() == [0.9, 0.6, 0.2]
    assert curve.coverage.tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert curve.risk.tolist() == pytest.approx([0, 1 / 2, 2 / 3])
    assert curve.area == pytest.approx((0 + 1 / 2 + 2 / 3) / 3)


@given(judged)
def test_the_risk_of_accepting_all_is_the_share_that_is_wrong(rows: Judged) -> None:
    confidence, correct = columns(rows)
    curve = risk_coverage(confidence, correct)
    assert curve.coverage[-1] == 1
    assert curve.risk[-1] == pytest.approx(1 - correct.mean())
    assert np.all(np.diff(curve.threshold) <= 0)


def test_the_threshold_is_the_lowest_that_keeps_its_promise() -> None:
    confidence = np.asarray([0.95, 0.9, 0.8, 0.7, 0.6])
    correct = np.asarray([True, True, True, False, False])
    assert threshold_for_accuracy(confidence, correct, 0.75) == 0.7
    assert threshold_for_accuracy(confidence, correct, 0.9) == 0.8


def test_nine_of_ten_are_ninety_per_cent_whatever_binary_fractions_say() -> None:
    confidence, correct = np.linspace(0.9, 0.5, 10), np.asarray([True] * 9 + [False])
    assert threshold_for_accuracy(confidence, correct, 0.9) == 0.5


def test_a_threshold_counts_everything_that_is_equally_sure() -> None:
    # Stopping after the first 0.8 would look perfect; the threshold 0.8 takes both.
    assert threshold_for_accuracy(np.asarray([0.8, 0.8]), np.asarray([True, False]), 0.9) == 1.0


@given(judged, st.floats(0, 1))
def test_everything_above_a_threshold_is_right_as_often_as_promised(rows: Judged, accuracy: float) -> None:
    confidence, correct = columns(rows)
    threshold = threshold_for_accuracy(confidence, correct, accuracy)
    sure = confidence >= threshold
    assert not sure.any() or correct[sure].mean() >= accuracy - 1e-9
    lower = [c for c in set(confidence) if c < threshold]
    assert all(correct[confidence >= c].mean() < accuracy for c in lower)
