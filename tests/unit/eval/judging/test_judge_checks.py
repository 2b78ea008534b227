"""Checks on judges find what was built into the judgments."""

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from eval.engine.items import ItemTurn, RunItem
from eval.judging.judge_checks import check_judges, positions, read_trusted, views_of
from eval.rating.columns import VerdictError


def pair(
    question: str, first: str | None, second: str | None, judge: str = "j", contestant: str = "m"
) -> RunItem:
    """An item with two games: the baseline is A in the first, the model in the second."""
    said = [
        {"judge": judge, "scale": "five", "text": "", "attempts": 1, "turn": 1, "game": game}
        | ({"label": label} if label else {})
        for game, label in ((1, first), (2, second))
    ]
    return RunItem(
        question=question,
        category="c",
        contestant=contestant,
        turns=(ItemTurn(prompt="?", answer="three words here"),),
        judgments=tuple(said),
        verdicts=({"judge": judge, "length": 3, "baseline_length": 1},),
    )


def grade(question: str, ratings: dict[str, float], contestant: str = "m", answer: str = "word") -> RunItem:
    said: tuple[dict[str, Any], ...] = tuple(
        {"judge": judge, "scale": "rating", "text": "", "attempts": 1, "turn": 1, "game": 1, "rating": rating}
        for judge, rating in ratings.items()
    )
    return RunItem(
        question=question,
        category="c",
        contestant=contestant,
        turns=(ItemTurn(prompt="?", answer=answer),),
        judgments=said,
    )


def test_a_judge_that_follows_the_position_is_caught() -> None:
    items = [
        pair("1", "A>B", "A>>B"),
        pair("2", "A>B", "B>A"),
        pair("3", "A=B", "A=B"),
        pair("4", "A>B", None),
    ]

    assert positions(items, "j") == {"pairs": 3, "same": 2 / 3, "first": 1 / 3, "second": 0.0}


def test_a_pair_is_seen_from_the_models_side_and_needs_both_games() -> None:
    views = views_of([pair("1", "B>>A", "A>B"), pair("2", "A>B", "B>A"), pair("3", None, "A>B")], "j")

    assert [(view.place[1], view.value) for view in views] == [("1", 4.0), ("2", -2.0)]
    assert views[0].other_words == 1


def test_unread_and_repeated_judgments_are_counted() -> None:
    found = check_judges([pair("1", None, "A>B")], models={"m": "m"}, judge_models={"j": "j"})["judges"]["j"]

    assert (found["judgments"], found["unparsed"], found["retried"]) == (2, 1, 0)
    assert found["self_preference"] is None


def test_longer_answers_that_win_show() -> None:
    items = [pair("1", "B>A", "A>B"), pair("2", "B>A", "A>B"), pair("3", "A>B", "B>A")]

    found = check_judges(items, models={"m": "m"}, judge_models={"j": "j"})["judges"]["j"]["length"]

    assert found == {"n": 3, "longer_won": 2 / 3}


def test_a_judge_that_likes_itself_more_than_others_do_shows() -> None:
    items = [
        grade("1", {"j": 9, "k": 5}, "me"),
        grade("2", {"j": 9, "k": 5}, "me"),
        grade("1", {"j": 6, "k": 5}, "other"),
        grade("2", {"j": 6, "k": 5}, "other"),
    ]

    found = check_judges(
        items, models={"me": "model-j", "other": "x"}, judge_models={"j": "model-j", "k": "k"}
    )

    assert found["judges"]["j"]["self_preference"] == {"preference": 3.0, "own": 2, "others": 2}
    assert found["judges"]["k"]["self_preference"] is None


def test_without_another_view_self_preference_is_unknown() -> None:
    found = check_judges([grade("1", {"j": 9}, "me")], models={"me": "j"}, judge_models={"j": "j"})

    assert found["judges"]["j"]["self_preference"]["preference"] is None


def test_a_panel_says_how_far_it_agrees() -> None:
    items = [grade(str(n), {"j": rating, "k": rating}) for n, rating in enumerate((2, 5, 9, 9))]

    panel = check_judges(items, models={"m": "m"}, judge_models={"j": "j", "k": "k"})["panel"]

    assert panel["n"] == 4
    assert panel["fleiss_kappa"] == pytest.approx(1.0)
    assert panel["pairs"][0]["judges"] == ["j", "k"]
    assert panel["pairs"][0]["kappa"] == pytest.approx(1.0)


def test_trusted_verdicts_are_compared_under_the_names_they_use(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.parquet"
    rows = [
        ("1", "theirs", "base", 2, 0, 0),
        ("2", "theirs", "base", 0, 0, 2),
        ("1", "theirs", "else", 0, 0, 1),
    ]
    names = ("question_id", "model", "baseline", "win", "tie", "loss")
    pyarrow.parquet.write_table(
        pyarrow.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), path
    )
    items = [pair("1", "B>A", "A>B"), pair("2", "B>A", "A>B")]

    trusted = read_trusted(path, pairwise=True, baselines=["base"], same={"m": "theirs"})
    found = check_judges(items, models={"m": "m"}, judge_models={"j": "j"}, trusted=trusted)

    assert found["judges"]["j"]["agreement"] == {
        "verdicts": {"n": 2, "same": 0.5, "same_decided": 0.5, "n_decided": 2, "kappa": 0.0}
    }
    with pytest.raises(VerdictError, match="graded"):
        read_trusted(path, pairwise=False)
