"""Paired tests agree with published figures."""

import numpy as np
import pytest

from eval.rating.paired import (
    compare,
    holm,
    minimum_detectable_difference,
    permutation_test,
    questions_needed,
    sign_test,
)

# Darwin's 15 pairs of crossed and self-fertilised maize, differences of height in eighths of an inch.
# Fisher (The Design of Experiments, 1935, §21) counts 863 of 2^15 signings with as great a sum on one side.
DARWIN = np.asarray([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48], dtype=np.float64)


def test_fishers_permutation_test_of_darwins_maize_is_found() -> None:
    assert permutation_test(DARWIN, flips=200_000) == pytest.approx(2 * 863 / 2**15, abs=0.002)


def test_the_sign_test_counts_the_tails_of_a_fair_coin() -> None:
    assert sign_test(13, 2) == pytest.approx(2 * (1 + 15 + 105) / 2**15)
    assert sign_test(0, 0) == 1


def test_equal_scores_are_no_difference_by_any_test() -> None:
    same = np.asarray([1.0, 0.0, 0.5])

    found = compare(("a", same), ("b", same))

    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert (found.p_permutation, found.p_sign, found.equal) == (1, 1, 3)


def test_a_comparison_says_who_won_where_and_turns_with_its_sides() -> None:
    ours, theirs = np.asarray([9.0, 8, 7, 5]), np.asarray([7.0, 8, 6, 6])

    forth, back = compare(("a", ours), ("b", theirs)), compare(("b", theirs), ("a", ours))

    assert (forth.better, forth.worse, forth.equal) == (2, 1, 1)
    assert forth.difference == pytest.approx(0.5) and back.difference == pytest.approx(-0.5)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert forth.p_permutation == back.p_permutation


def test_the_bootstrap_covers_the_true_difference_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        drawn = random.normal(0.3, 1, size=60)
        found = compare(("a", drawn), ("b", np.zeros(60)), rounds=400, flips=10, confidence=0.9, seed=trial)
        covered += found.low <= 0.3 <= found.high

    assert 0.83 <= covered / 200 <= 0.95


def test_the_published_example_of_a_power_analysis_is_found() -> None:
    # Miller 2024, arXiv 2411.00640: 3 points, variance 1/9 of the paired difference, 80 % power: 969.
    assert questions_needed(0.03, 1 / 3) == 969
    assert minimum_detectable_difference(1 / 3, 969) == pytest.approx(0.03, abs=1e-5)


def test_the_minimum_detectable_difference_is_detected_with_the_power_it_names() -> None:
    random = np.random.default_rng(1)
    size, deviation = 100, 2.0
    true = minimum_detectable_difference(deviation, size, power=0.8)
    draws = random.normal(true, deviation, size=(4000, size))
    z = draws.mean(axis=1) / (deviation / np.sqrt(size))

    assert (np.abs(z) > 1.959964).mean() == pytest.approx(0.8, abs=0.025)


def test_holm_multiplies_the_smallest_by_their_number_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_models_without_a_common_question_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="share no question"):
        compare(("a", np.empty(0)), ("b", np.empty(0)))
