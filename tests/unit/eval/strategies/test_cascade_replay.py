"""Cascades ask on only where cheap experts disagree."""

import numpy as np
import pytest

from eval.strategies.cascade_replay import VotingCascade, candidates, cascade_trials
from eval.strategies.trials import best_within
from tests.unit.eval.strategies.planted import fold, table


def test_what_two_agree_on_is_accepted_and_the_strong_one_is_spared() -> None:
    votes = np.asarray([[0, 0, 1], [0, 1, 1], [0, 1, 2]])

    choice, asked = VotingCascade((0, 1, 2)).run(votes)

    assert choice.tolist() == [0, 1, 2]
    assert asked.sum(axis=1).tolist() == [2, 3, 3]


def test_an_empty_answer_agrees_with_nothing_and_never_wins() -> None:
    votes = np.asarray([[-1, -1, 0], [-1, 1, -1], [-1, -1, -1]])

    choice, asked = VotingCascade((0, 1, 2)).run(votes)

    assert choice.tolist() == [0, 1, -1]
    assert asked.all()


def test_agreement_may_come_at_any_later_step() -> None:
    votes = np.asarray([[0, 1, 2, 1], [3, 1, 3, 0]])

    choice, asked = VotingCascade((0, 1, 2, 3)).run(votes)

    assert choice.tolist() == [1, 3]
    assert asked.sum(axis=1).tolist() == [4, 3]


def test_candidates_are_single_experts_and_lists_of_three_or_four_without_repetition() -> None:
    found = list(candidates(table(100)))

    assert {len(each.experts) for each in found} == {1, 3, 4}
    assert all(len(set(each.experts)) == len(each.experts) for each in found)
    assert len(set(found)) == len(found)


def test_a_cascade_comes_near_the_strong_expert_at_much_less_cost() -> None:
    planted = fold()
    scores = planted.held_out.data.scores

    best = best_within(cascade_trials(planted), 17.0)

    assert best is not None
    assert best.held_out.active.mean() < 18
    assert best.held_out.score.mean() > scores[:, 1].mean() + 0.1
    assert best.held_out.score.mean() > scores[:, 3].mean() - 0.06


def test_no_prompt_takes_more_than_the_cap() -> None:
    trials = cascade_trials(fold(200), budget_b=8.0)

    assert trials
    assert max(each.held_out.active.max() for each in trials) <= 8.0


def test_costs_count_every_expert_that_ran() -> None:
    planted = fold(200)

    for trial in cascade_trials(planted):
        assert trial.held_out.active.min() >= 2.0
        assert (trial.held_out.calls >= 1).all()
    cheapest = best_within(cascade_trials(planted), 2.0)
    assert cheapest is not None and cheapest.held_out.active.mean() == pytest.approx(2.0)
