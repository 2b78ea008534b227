"""Panels grow until they are sure."""

from functools import cache

import numpy as np
import pytest

from eval.strategies.folds import Fold
from eval.strategies.mixed import mixed_trials
from eval.strategies.panel_replay import ReplayPanel, panel_trials, panels, stopping_trials, vote_trials
from eval.strategies.simple import majority_trials, single_trials
from eval.strategies.trials import StrategyTrial, best_within
from tests.unit.eval.strategies.planted import fold


@cache
def world() -> Fold:
    return fold()


@cache
def found_panels() -> list[ReplayPanel]:
    return panels(world())


def trials_of(panel: ReplayPanel, trials: list[StrategyTrial]) -> list[StrategyTrial]:
    return [each for each in trials if each.settings["first"] == panel.name]


def test_experts_join_once_and_stay() -> None:
    for panel in found_panels():
        for stage, following in zip(panel.held_out, panel.held_out[1:], strict=False):
            assert (stage.asked <= following.asked).all()
            assert (following.asked.sum(axis=1) == stage.asked.sum(axis=1) + 1).mean() > 0.4


def test_one_that_only_repeats_another_joins_last() -> None:
    for panel in found_panels():
        if panel.name in {"cheap", "big"}:
            assert set(panel.order[-2:]) >= {"echo"} or set(panel.order[-2:]) >= {"small"}


def test_a_weighted_vote_of_all_beats_every_expert_and_the_plain_majority() -> None:
    vote = max(vote_trials(world(), found_panels()), key=lambda each: each.fitted.score.mean())
    majority = max(majority_trials(world(), found_panels()), key=lambda each: each.held_out.calls.mean())

    assert vote.held_out.score.mean() > world().held_out.data.scores.mean(axis=0).max() + 0.01
    assert vote.held_out.score.mean() > majority.held_out.score.mean()


def test_a_higher_level_asks_more_experts() -> None:
    for panel in found_panels():
        for criterion in ("the vote being right", "one of them being right"):
            found = [
                each
                for each in trials_of(panel, panel_trials(world(), found_panels()))
                if each.settings["probability_of"] == criterion
            ]
            costs = [
                each.held_out.active.mean() for each in sorted(found, key=lambda each: each.settings["p"])
            ]
            assert costs == sorted(costs)


def test_level_one_asks_everybody() -> None:
    surest = [each for each in panel_trials(world(), found_panels()) if each.settings["p"] == 1.0]

    assert all((each.held_out.calls == 4).all() for each in surest)


def test_a_higher_price_asks_fewer_experts() -> None:
    for panel in found_panels():
        found = trials_of(panel, stopping_trials(world(), found_panels()))
        by_price = sorted(found, key=lambda each: each.settings["accuracy_per_billion"])
        assert by_price[-1].fitted.active.mean() < by_price[0].fitted.active.mean()


def test_learnt_stopping_is_as_good_as_everybody_for_less() -> None:
    everybody = max(vote_trials(world(), found_panels()), key=lambda each: each.fitted.score.mean())

    best = best_within(stopping_trials(world(), found_panels()), 0.75 * everybody.fitted.active.mean())

    assert best is not None
    assert best.held_out.score.mean() > everybody.held_out.score.mean() - 0.02


def test_nobody_joins_beyond_the_cap() -> None:
    found = panels(world(), budget_b=8.0)

    assert found
    for trial in (
        *vote_trials(world(), found),
        *panel_trials(world(), found),
        *stopping_trials(world(), found),
    ):
        assert trial.held_out.active.max() <= 8.0


def test_the_routers_choice_is_what_its_expected_scores_say() -> None:
    quality = single_trials(world())[0]

    assert quality.settings == {"active_weight": 0.0}
    assert (quality.held_out.calls == 1).all()
    assert quality.held_out.active.mean() == pytest.approx(20.0)


def test_mixing_takes_the_best_trial_of_each_category() -> None:
    first, second = (
        StrategyTrial({"name": name}, single.fitted, single.held_out)
        for name, single in (("dear", single_trials(world())[0]), ("cheap", single_trials(world())[-1]))
    )

    found = mixed_trials(world(), [("one", [first]), ("other", [second])])

    assert found[0].document(("coding", "law"))["by_category"]["coding"] == {
        "strategy": "one",
        "name": "dear",
    }
    assert found[-1].held_out.active.mean() == pytest.approx(second.held_out.active.mean())
    rows = world().held_out.category == 0
    for each in found:
        assert any(
            np.array_equal(each.held_out.score[rows], part.held_out.score[rows]) for part in (first, second)
        )
