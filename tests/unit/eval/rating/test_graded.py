"""Ratings of graded answers."""

from typing import Any

import pytest

from eval.rating.graded import rate_graded
from eval.rating.settings import RatingSettings
from tests.unit.eval.rating.making import graded

FAST = RatingSettings(rounds=200, flips=500)
ROWS = [
    ("q1", "ours", 1, 9),
    ("q1", "ours", 2, 7),
    ("q2", "ours", 1, 10),
    ("q2", "ours", 2, -1),
    ("q1", "theirs", 1, 4),
    ("q2", "theirs", 1, 6),
]
CATEGORIES = ["math", "math", "writing", "writing", "math", "writing"]


def by_name(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["model"]: each for each in document["models"]}


def test_the_score_is_the_mean_over_all_scored_turns() -> None:
    found = rate_graded(graded(ROWS), FAST)

    assert [each["model"] for each in found["models"]] == ["ours", "theirs"]
    assert by_name(found)["ours"]["score"] == pytest.approx(26 / 3)
    assert (by_name(found)["ours"]["n"], by_name(found)["ours"]["unscored"]) == (3, 1)
    assert (found["n_questions"], found["n_verdicts"], found["n_unscored"]) == (2, 5, 1)


def test_turns_and_categories_have_scores_of_their_own() -> None:
    found = by_name(rate_graded(graded(ROWS, category=CATEGORIES), FAST))

    assert {turn: each["score"] for turn, each in found["ours"]["turns"].items()} == {"1": 9.5, "2": 7.0}
    assert {name: each["score"] for name, each in found["ours"]["categories"].items()} == {
        "math": 8.0,
        "writing": 10.0,
    }
    assert set(found["theirs"]["turns"]) == {"1"}


def test_the_interval_resamples_questions_with_all_their_turns() -> None:
    # Two turns that agree are one fact: 40 questions, half at 2 and half at 8.
    rows = [(f"q{each}", "ours", turn, 2 + 6 * (each % 2)) for each in range(40) for turn in (1, 2)]

    ours = by_name(rate_graded(graded(rows), RatingSettings(rounds=1000)))["ours"]

    assert ours["score"] == 5
    assert ours["high"] - ours["low"] == pytest.approx(2 * 1.96 * 3 / 40**0.5, rel=0.15)


def test_neighbours_are_compared_by_question() -> None:
    (found,) = rate_graded(graded(ROWS), FAST)["comparisons"]

    assert found["n"] == 2
    assert found["difference"] == pytest.approx((8 + 10) / 2 - (4 + 6) / 2)


def test_scores_of_two_judges_are_not_averaged() -> None:
    table = graded([("q1", "ours", 1, 9), ("q1", "ours", 1, 3)], judge=["kind", "strict"])

    assert {name: each["score"] for name, each in by_name(rate_graded(table, FAST)).items()} == {
        "ours": 9,
        "ours [strict]": 3,
    }
