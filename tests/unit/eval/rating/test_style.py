"""Style control separates strength from looks."""

from typing import Any

import numpy as np
import pytest

from eval.rating.bradley_terry import Pairs
from eval.rating.pairwise import rate_pairwise
from eval.rating.resampling import multiplicities
from eval.rating.settings import RatingSettings
from eval.rating.style import Style, Verdicts, differences, fit_style, style_of
from tests.unit.eval.rating.making import pairwise

FAST = RatingSettings(rounds=200, flips=100)


def test_the_style_of_an_answer_counts_words_and_markdown_outside_code() -> None:
    answer = (
        "# Title\n\n- one **bold** item\n* two\n1. three\n\n```python\n# no header\n- no item\n```\n## End"
    )

    assert style_of(answer) == Style(length=20, headers=2, lists=3, bold=1)
    assert style_of("") == Style(0, 0, 0, 0)


def test_a_code_block_that_never_ends_is_code_to_the_end() -> None:
    assert style_of("# Title\n~~~\n# comment\n- item\n").headers == 1


def test_a_difference_is_relative_and_markdown_is_by_length() -> None:
    one, two = np.asarray([100.0, 100.0]), np.asarray([100.0, 300.0])
    lists = np.asarray([2.0, 2.0]), np.asarray([2.0, 6.0])

    names, x = differences({"length": (one, two), "lists": lists})

    # As many items a word on both sides: nothing to learn of lists.
    assert names == ("length",)
    assert x[:, 0] / x[1, 0] == pytest.approx([0, 1])
    assert x[1, 0] < 0


def planted(questions: int = 1500, taste: float = 1.2) -> dict[str, list[Any]]:
    """Two models as good as the baseline, but one writes long, and the judge likes length."""
    random = np.random.default_rng(2)
    rows: dict[str, list[Any]] = {
        name: [] for name in ("question_id", "model", "win", "length", "baseline_length")
    }
    for model, center in (("long", 600), ("short", 200)):
        ours = random.lognormal(np.log(center), 0.6, size=questions)
        theirs = random.lognormal(np.log(350), 0.6, size=questions)
        chance = 1 / (1 + np.exp(-taste * 2.5 * (ours - theirs) / (ours + theirs)))
        rows["question_id"] += [f"q{each}" for each in range(questions)]
        rows["model"] += [model] * questions
        rows["win"] += (random.random(questions) < chance).astype(int).tolist()
        rows["length"] += ours.tolist()
        rows["baseline_length"] += theirs.tolist()
    return rows


def planted_ratings() -> dict[str, Any]:
    rows = planted()
    table = pairwise(
        [
            (question, model, "base", win, 0, 1 - win)
            for question, model, win in zip(rows["question_id"], rows["model"], rows["win"], strict=True)
        ],
        length=rows["length"],
        baseline_length=rows["baseline_length"],
    )
    return rate_pairwise(table, FAST)


def test_a_planted_taste_for_length_is_found_and_taken_out() -> None:
    found = planted_ratings()
    models = {each["model"]: each for each in found["models"]}

    assert models["long"]["score"] > 60 and models["short"]["score"] < 40
    assert models["long"]["style_low"] < 50 < models["long"]["style_high"]
    assert models["short"]["style_low"] < 50 < models["short"]["style_high"]
    assert models["base"]["style_score"] == 50
    coefficient = found["style"]["coefficients"]["length"]
    assert 0 < coefficient["low"] < coefficient["value"] < coefficient["high"]


def test_without_a_taste_style_control_changes_nothing_much() -> None:
    random = np.random.default_rng(4)
    rows = [(f"q{each}", "ours", "base", int(random.random() < 0.7), 0, 0) for each in range(1000)]
    rows = [(*row[:5], 1 - row[3]) for row in rows]
    lengths = random.integers(50, 500, size=(2, 1000)).tolist()

    found = rate_pairwise(pairwise(rows, length=lengths[0], baseline_length=lengths[1]), FAST)
    (ours,) = (each for each in found["models"] if each["model"] == "ours")

    assert ours["style_score"] == pytest.approx(ours["score"], abs=0.7)


def test_the_one_step_bootstrap_is_close_to_fitting_every_round() -> None:
    random = np.random.default_rng(7)
    rows, questions, rounds = 900, 300, 40
    pair = np.arange(rows) % 3
    pairs = Pairs(np.asarray([1, 2, 2]), np.asarray([0, 0, 1]), 3)
    x = random.normal(size=(rows, 2))
    odds = np.asarray([0.5, -0.4, -0.9])[pair] + x @ np.asarray([0.6, -0.3])
    points = (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.float64)
    question = np.arange(rows) // 3

    def verdicts(times: np.ndarray) -> Verdicts:
        weight = times[question]
        return Verdicts(pairs, pair, question, questions, points * weight, weight, x)

    whole = fit_style(verdicts(np.ones(questions)), 0, rounds=rounds, seed=9)
    drawn = np.concatenate(list(multiplicities(questions, rounds, seed=9)))
    refitted = np.stack([fit_style(verdicts(times), 0, rounds=10, seed=0).theta for times in drawn])

    assert whole.theta[1:] == pytest.approx([0.5, -0.4], abs=0.3)
    assert whole.theta_rounds == pytest.approx(refitted, abs=0.03)


def test_verdicts_without_style_are_left_out_of_style_control_alone() -> None:
    rows = [("q1", "ours", "base", 1, 0, 1), ("q2", "ours", "base", 2, 0, 1), ("q3", "ours", "base", 1, 0, 3)]

    found = rate_pairwise(
        pairwise(rows, length=[10, None, 30], baseline_length=[20, 20, 20]), RatingSettings(rounds=20)
    )

    assert found["style"]["n_verdicts"] == 2
    assert any("1 verdicts without style" in note for note in found["notes"])
