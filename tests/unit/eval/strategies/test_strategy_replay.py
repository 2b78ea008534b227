"""A replay fits on some folds, judges on another, and says what it did."""

import json
from pathlib import Path
from typing import Any

import pytest

from eval.strategies.strategy_pictures import draw_strategies
from eval.strategies.strategy_replay import FAMILIES, ReplaySettings, StrategyReport, replay
from routers.strategy_fitting.recorded_answers import AnswersError
from tests.unit.routers.strategy_fitting.planted import CARDS, table
from tests.unit.routers.world import BagOfWords

WITH_LOGPROBS = {"self_select"}
FAST = ReplaySettings(folds=3, parts=2, rounds=100, jobs=1)


def replayed(settings: ReplaySettings = FAST, prompts: int = 360) -> StrategyReport:
    data, encoder = table(prompts), BagOfWords()
    return replay(data, encoder.encode(data.table.prompts), encoder, settings)


@pytest.fixture(scope="module")
def report() -> StrategyReport:
    return replayed()


@pytest.fixture(scope="module")
def document(report: StrategyReport) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(report.document(), allow_nan=False))
    return found


def test_the_document_has_every_strategy_and_every_baseline(document: dict[str, Any]) -> None:
    assert {each["name"] for each in document["strategies"]} == set(FAMILIES) - {
        "self_select"
    }  # no log-probabilities
    assert set(document["baselines"]) == {
        "random",
        "best_single",
        "knn",
        "kmeans",
        "category_oracle",
        "oracle",
    }
    for each in document["strategies"]:
        assert each["low"] <= each["score"] <= each["high"]
        assert each["calls"] >= 1
        assert len(each["settings"]["parts"]) == 2


def test_the_judged_prompts_are_those_of_the_parts(document: dict[str, Any]) -> None:
    assert document["n"] == 240
    assert (document["folds"], document["parts"]) == (3, 2)


def test_the_router_as_fitted_is_the_first_and_differs_from_itself_by_nothing(
    document: dict[str, Any],
) -> None:
    first = document["strategies"][0]

    assert (first["name"], first["within_b"]) == ("single", None)
    assert first["minus_single"] == {"difference": 0, "low": 0, "high": 0}


def test_voting_beats_the_best_single_expert_for_sure(document: dict[str, Any]) -> None:
    best = max(
        (each for each in document["strategies"] if each["name"] == "vote"), key=lambda each: each["score"]
    )

    assert best["minus_best_single"]["difference"] > 0
    assert best["minus_best_single"]["difference"] == pytest.approx(
        best["score"] - document["baselines"]["best_single"]
    )


def test_what_serves_a_budget_keeps_near_it_on_prompts_that_were_not_fitted_on(
    document: dict[str, Any],
) -> None:
    for each in document["strategies"]:
        if each["within_b"] is not None:
            assert each["active_params_b"] <= 1.15 * each["within_b"] + 0.5


def test_the_hull_rises_in_cost_and_score_and_nothing_lies_above_it(document: dict[str, Any]) -> None:
    hull = document["pareto"]

    assert [each["active_params_b"] for each in hull] == sorted(each["active_params_b"] for each in hull)
    assert [each["score"] for each in hull] == sorted(each["score"] for each in hull)
    dearest = hull[-1]
    assert all(
        each["score"] <= dearest["score"] for each in (*document["strategies"], *document["singles"].values())
    )


def test_the_same_seed_gives_the_same_report(document: dict[str, Any]) -> None:
    assert json.loads(json.dumps(replayed().document())) == document


def test_nobody_takes_more_than_the_cap() -> None:
    found = replayed(ReplaySettings(folds=3, parts=1, rounds=20, jobs=1, budget_b=8.0))

    assert all(each.active_params_b <= 8 for each in found.points if each.within_b is not None)


def test_the_picture_is_drawn_whole_or_not_at_all(report: StrategyReport, tmp_path: Path) -> None:
    path = tmp_path / "pictures" / "strategies.png"

    draw_strategies(report, path)

    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [each.name for each in path.parent.iterdir()] == ["strategies.png"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 1}, "folds must be 2"),
        ({"folds": 3, "parts": 4}, "1 to 3"),
        ({"budgets_b": (0.0,)}, "above 0"),
        ({"budgets_b": (8.0, float("nan"))}, "above 0"),
        ({"budget_b": float("inf")}, "above 0"),
        ({"most": 0}, "1 expert or more"),
        ({"rounds": 1}, "10 or more"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReplaySettings(**settings)


def test_too_few_prompts_are_refused_with_what_would_help() -> None:
    with pytest.raises(AnswersError, match="categor"):
        replayed(ReplaySettings(folds=2, rounds=20, jobs=1), prompts=8)


def test_the_planted_sizes_are_what_costs_are_made_of(document: dict[str, Any]) -> None:
    assert {name: each["active_params_b"] for name, each in document["singles"].items()} == {
        each.name: each.active_params_b for each in CARDS
    }
