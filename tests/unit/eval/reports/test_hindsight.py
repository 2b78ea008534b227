"""Baselines beside a composition."""

import pytest

from eval.reports.hindsight import hindsight

SCORES = {
    "coterie": {"1": 1.0, "2": 0.0, "3": 1.0},
    "small": {"1": 1.0, "2": 0.0, "3": 0.0},
    "large": {"1": 0.0, "2": 0.5, "3": 1.0},
}
CATEGORIES = {"1": "talk", "2": "math", "3": "math"}


def test_the_baselines_are_computed_on_common_questions() -> None:
    found = hindsight({**SCORES, "large": {**SCORES["large"], "4": 1.0}}, ["coterie"], CATEGORIES)

    assert found is not None
    assert (found["n"], found["best_single"]) == (3, "large")
    assert found["scores"] == {
        "coterie": pytest.approx(2 / 3),
        "an expert at random": pytest.approx(2.5 / 6),
        "best single expert": pytest.approx(0.5),
        "best category map, in hindsight": pytest.approx(2.5 / 3),
        "best expert a question, in hindsight": pytest.approx(2.5 / 3),
    }


def test_there_are_none_without_a_composition_or_two_experts_or_a_common_question() -> None:
    assert hindsight(SCORES, [], CATEGORIES) is None
    assert hindsight({k: SCORES[k] for k in ("coterie", "small")}, ["coterie"], CATEGORIES) is None
    assert hindsight({**SCORES, "large": {"9": 1.0}}, ["coterie"], CATEGORIES) is None
