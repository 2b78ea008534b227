"""Weighted votes find who deserves which weight."""

import numpy as np
import pytest

from routers.strategies.vote_model import Ballots, fit_votes
from tests.unit.routers.strategy_fitting.planted import CARDS, table, training

NAMES = [each.name for each in CARDS]


def test_probabilities_sum_to_one_and_go_to_given_answers_only() -> None:
    ours = training(table(200))
    model = fit_votes(ours.ballots, ours.recorded.option_scores())

    chances = model.probabilities(ours.ballots)

    assert chances.sum(axis=1) == pytest.approx(1)
    given = np.zeros(chances.shape, dtype=bool)
    given[np.arange(len(chances))[:, None], ours.recorded.answers] = True
    given[:, -1] = True
    assert (chances[~given] == 0).all() and (chances[given] > 0).all()


def test_probabilities_are_calibrated_on_prompts_that_were_not_fitted_on() -> None:
    ours, others = training(table(3000, seed=1)), training(table(3000, seed=2))
    options = ours.recorded.option_scores().shape[1]

    chances = fit_votes(ours.ballots, ours.recorded.option_scores()).probabilities(others.ballots, options)[
        :, :-1
    ]
    right = others.recorded.option_scores()[np.arange(len(others)), chances.argmax(axis=1)]
    leading = chances.max(axis=1)

    for low, high in ((0.2, 0.6), (0.6, 0.9), (0.9, 1.0)):
        rows = (leading >= low) & (leading < high)
        assert right[rows].mean() == pytest.approx(leading[rows].mean(), abs=0.06)


def test_an_expert_that_repeats_another_is_not_counted_twice() -> None:
    ours = training(table(3000, seed=1))
    with_echo = fit_votes(ours.ballots, ours.recorded.option_scores())
    alone = np.asarray([True, True, False, True])
    without = fit_votes(ours.ballots.of(alone), ours.recorded.option_scores())

    both = with_echo.weights[[NAMES.index("small"), NAMES.index("echo")]].sum()

    assert both == pytest.approx(without.weights[NAMES.index("small")], abs=0.35)


def test_who_is_better_in_a_category_has_more_weight_there() -> None:
    ours = training(table(3000, seed=1))
    # Without trust the categories' own weights must say it.
    blind = Ballots(ours.ballots.votes, ours.ballots.posterior, np.zeros_like(ours.ballots.trust))

    model = fit_votes(blind, ours.recorded.option_scores())

    cheap, small = model.by_category[:, NAMES.index("cheap")], model.by_category[:, NAMES.index("small")]
    assert cheap[0] > cheap[1] and small[1] > small[0]


def test_without_categories_there_is_one_weight_for_all() -> None:
    ours = training(table(200))

    model = fit_votes(ours.ballots, ours.recorded.option_scores(), by_category=False)

    assert not model.by_category.any() and not model.none_by_category.any()


def test_nobody_asked_means_that_no_answer_is_right() -> None:
    ours = training(table(200))
    nobody = ours.ballots.of(np.zeros(len(CARDS), dtype=bool))

    chances = fit_votes(ours.ballots, ours.recorded.option_scores()).probabilities(nobody, 4)

    assert (chances[:, -1] == 1).all()
