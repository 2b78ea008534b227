"""Ratings of pairwise verdicts."""

from typing import Any

import numpy as np
import pytest

from eval.rating.bradley_terry import RatingError
from eval.rating.pairwise import rate_pairwise
from eval.rating.rate import rate
from eval.rating.settings import RatingSettings
from tests.unit.eval.rating.making import pairwise

FAST = RatingSettings(rounds=200, flips=500)


def by_name(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["model"]: each for each in document["models"]}


def test_the_score_is_the_expected_win_rate_against_the_baseline_in_percent() -> None:
    table = pairwise(
        [("q1", "good", "base", 3, 0, 0), ("q2", "good", "base", 1, 2, 0), ("q1", "bad", "base", 0, 1, 3)]
    )

    found = rate_pairwise(table, FAST)

    assert found["baseline"] == "base"
    assert [each["model"] for each in found["models"]] == ["good", "base", "bad"]
    assert [each["rank"] for each in found["models"]] == [1, 2, 3]
    scores = {name: each["score"] for name, each in by_name(found).items()}
    assert scores == pytest.approx({"good": 100 * 5 / 6, "base": 50, "bad": 12.5})


def test_counts_weigh_in_the_score_and_questions_in_the_win_rate() -> None:
    table = pairwise([("q1", "ours", "base", 6, 0, 0), ("q2", "ours", "base", 0, 0, 2)])

    ours = by_name(rate_pairwise(table, FAST))["ours"]

    assert ours["score"] == pytest.approx(75)
    assert ours["win_rate"] == pytest.approx(50)
    assert (ours["win"], ours["tie"], ours["loss"], ours["n"], ours["n_questions"]) == (6, 0, 2, 2, 2)


def test_intervals_hold_the_score_narrow_with_more_questions_and_repeat_with_the_seed() -> None:
    random = np.random.default_rng(0)

    def made(questions: int) -> dict[str, Any]:
        wins = random.binomial(2, 0.6, size=questions)
        rows = [(f"q{each}", "ours", "base", int(win), 0, 2 - int(win)) for each, win in enumerate(wins)]
        first, second = (by_name(rate_pairwise(pairwise(rows), FAST))["ours"] for _ in range(2))
        assert first == second
        return first

    few, many = made(50), made(800)

    assert few["low"] < few["score"] < few["high"]
    assert many["high"] - many["low"] < 0.5 * (few["high"] - few["low"])
    assert many["low"] < 60 < many["high"]


def test_the_interval_is_as_wide_as_questions_differ_not_as_verdicts_do() -> None:
    # Each question's 20 verdicts agree: there are 30 independent facts here, not 600.
    rows = [(f"q{each}", "ours", "base", 20 * (each % 2), 0, 20 * (1 - each % 2)) for each in range(30)]

    ours = by_name(rate_pairwise(pairwise(rows), FAST))["ours"]

    assert ours["high"] - ours["low"] == pytest.approx(100 * 2 * 1.96 * 0.5 / 30**0.5, rel=0.2)


def test_models_that_met_each_other_are_rated_through_one_another() -> None:
    # `far` never met the baseline: it beats `near` as `near` beats the baseline, 3 to 1.
    table = pairwise([("q1", "near", "base", 3, 0, 1), ("q1", "far", "near", 3, 0, 1)])

    found = by_name(rate_pairwise(table, RatingSettings(rounds=20, baseline="base")))

    assert found["far"]["score"] == pytest.approx(90, abs=0.001)
    assert found["far"]["win_rate"] is None


def test_it_does_not_matter_which_side_of_a_row_the_baseline_is_on() -> None:
    forth = pairwise([("q1", "ours", "base", 3, 1, 1), ("q2", "ours", "base", 1, 0, 1)])
    mixed = pairwise([("q1", "base", "ours", 1, 1, 3), ("q2", "ours", "base", 1, 0, 1)])
    settings = RatingSettings(rounds=50, baseline="base")

    assert by_name(rate_pairwise(forth, settings)) == by_name(rate_pairwise(mixed, settings))


def test_a_model_that_always_won_scores_a_hundred() -> None:
    table = pairwise([("q1", "ours", "base", 2, 0, 0), ("q2", "ours", "base", 6, 0, 0)])

    assert by_name(rate_pairwise(table, FAST))["ours"]["score"] == 100


def test_models_without_a_link_to_the_baseline_cannot_be_rated_with_it() -> None:
    table = pairwise([("q1", "a", "base", 1, 0, 1), ("q1", "b", "other", 1, 0, 1)])

    with pytest.raises(RatingError, match=r"b, other .*base"):
        rate_pairwise(table, RatingSettings(baseline="base"))


def test_an_unknown_baseline_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RatingError, match=r"nobody .*ours"):
        rate_pairwise(pairwise([("q1", "ours", "base", 1, 0, 1)]), RatingSettings(baseline="nobody"))


def test_verdicts_of_several_judges_on_one_model_are_rated_apart() -> None:
    table = pairwise(
        [
            ("q1", "ours", "base", 1, 0, 3),
            ("q1", "ours", "base", 3, 0, 1),
            ("q1", "theirs", "base", 1, 0, 1),
        ],
        judge=["strict", "kind", "kind"],
    )

    found = by_name(rate_pairwise(table, FAST))

    assert {name: each["score"] for name, each in found.items()} == {
        "ours": 25,
        "ours [kind]": 75,
        "theirs": 50,
        "base": 50,
    }
    assert found["ours"]["judge"] == "strict" and found["ours [kind]"]["judge"] == "kind"
    assert found["base"]["judge"] is None


def test_categories_are_rated_on_their_own_questions() -> None:
    table = pairwise(
        [("q1", "ours", "base", 2, 0, 0), ("q2", "ours", "base", 0, 0, 2)], category=["math", "writing"]
    )

    found = rate_pairwise(table, FAST)["categories"]

    assert by_name(found["math"])["ours"]["score"] == 100
    assert by_name(found["writing"])["ours"]["score"] == 0
    assert found["math"]["n_questions"] == 1


def test_a_category_has_its_own_baseline_unless_one_was_asked_for() -> None:
    rows = [
        ("q1", "ours", "base", 3, 0, 1),
        ("q2", "base", "other", 1, 0, 3),
        ("q2", "ours", "other", 1, 0, 1),
    ]
    table = pairwise(
        [*rows, ("q3", "ours", "base", 1, 0, 1)], category=["hard", "creative", "creative", "hard"]
    )

    own = rate_pairwise(table, FAST)["categories"]
    asked = rate_pairwise(table, RatingSettings(rounds=20, baseline="base"))["categories"]

    assert (own["hard"]["baseline"], own["creative"]["baseline"]) == ("base", "other")
    assert by_name(own["creative"])["base"]["score"] == pytest.approx(25)
    assert asked["creative"]["baseline"] == "base"


def test_neighbours_are_compared_on_the_questions_that_both_answered() -> None:
    rows = [(f"q{each}", "ours", "base", 2, 0, 0) for each in range(12)]
    rows += [(f"q{each}", "theirs", "base", 0, 0, 2) for each in range(4, 16)]

    (found,) = rate_pairwise(pairwise(rows), FAST)["comparisons"]

    assert (found["first"], found["second"], found["n"]) == ("ours", "theirs", 8)
    assert (found["difference"], found["low"], found["high"]) == (100, 100, 100)
    assert found["p_sign"] == pytest.approx(2 / 2**8)


def test_ranks_that_chance_may_swap_have_limits() -> None:
    random = np.random.default_rng(5)
    rows: list[tuple[Any, ...]] = []
    for name, chance in (("best", 0.95), ("alike", 0.5), ("equal", 0.51)):
        wins = random.binomial(1, chance, size=60)
        rows += [(f"q{each}", name, "base", int(win), 0, 1 - int(win)) for each, win in enumerate(wins)]

    found = by_name(rate_pairwise(pairwise(rows), FAST))

    assert (found["best"]["rank_low"], found["best"]["rank_high"]) == (1, 1)
    assert found["alike"]["rank_low"] < found["alike"]["rank_high"]


def test_what_cannot_be_known_is_null_and_not_nan() -> None:
    table = pairwise([("q1", "ours", "base", 1, 0, 1), ("q1", "theirs", "base", 1, 0, 1)])

    (found,) = rate(table, FAST)["comparisons"]

    assert found["minimum_detectable"] is None
