"""Strengths agree with published figures, with evalica, and with what was planted."""

import numpy as np
import pytest

from eval.rating.bradley_terry import Pairs, expected_win_rates, strengths

# Agresti, Categorical Data Analysis (2nd edition, 2002), table 10.10: wins of each American League
# baseball team over each other in 1987, and its Bradley-Terry estimates relative to Baltimore.
TEAMS = ("Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland", "Baltimore")
WINS = (
    (0, 7, 9, 7, 7, 9, 11),
    (6, 0, 7, 5, 11, 9, 9),
    (4, 6, 0, 7, 7, 8, 12),
    (6, 8, 6, 0, 6, 7, 10),
    (6, 2, 6, 7, 0, 7, 12),
    (4, 4, 5, 6, 6, 0, 6),
    (2, 4, 1, 3, 1, 7, 0),
)
PUBLISHED = (1.58, 1.44, 1.29, 1.25, 1.11, 0.68, 0.0)


def league() -> tuple[Pairs, np.ndarray, np.ndarray]:
    wins = np.asarray(WINS, dtype=np.float64)
    first, second = np.triu_indices(len(TEAMS), k=1)
    games = (wins + wins.T)[first, second]
    return Pairs(first, second, len(TEAMS)), wins[first, second][None], games[None]


def test_the_baseball_league_of_1987_gets_its_published_strengths() -> None:
    pairs, points, games = league()

    theta = strengths(pairs, points, games, anchor=6)[0]

    assert theta == pytest.approx(PUBLISHED, abs=0.006)


def test_evalica_finds_the_same_strengths() -> None:
    from evalica import Winner, bradley_terry

    pairs, points, games = league()
    first = [TEAMS[each] for each in pairs.first]
    second = [TEAMS[each] for each in pairs.second]
    count = len(pairs)
    theirs = bradley_terry(
        first * 2,
        second * 2,
        [Winner.X] * count + [Winner.Y] * count,
        weights=[*points[0], *(games - points)[0]],
        tolerance=1e-12,
        limit=10_000,
    ).scores

    ours = strengths(pairs, points, games, anchor=6)[0]

    logs = np.log([theirs[name] for name in TEAMS])
    assert ours == pytest.approx(logs - logs[6], abs=1e-5)


def test_against_one_baseline_alone_the_rate_is_the_share_of_points() -> None:
    pairs = Pairs(np.asarray([1, 2]), np.asarray([0, 0]), 3)

    rates = expected_win_rates(pairs, np.asarray([[30.0, 5.0]]), np.asarray([[40.0, 50.0]]), anchor=0)

    assert rates.tolist() == [[0.5, 0.75, 0.1]]


def test_the_iteration_and_the_short_cut_for_one_baseline_agree() -> None:
    pairs = Pairs(np.asarray([1, 2]), np.asarray([0, 0]), 3)
    points, games = np.asarray([[30.0, 5.0], [10.0, 25.0]]), np.asarray([[40.0, 50.0], [40.0, 50.0]])

    theta = strengths(pairs, points, games, anchor=0)

    assert 1 / (1 + np.exp(-theta)) == pytest.approx(expected_win_rates(pairs, points, games, 0), abs=1e-6)


def test_a_player_who_never_lost_is_rated_near_one_and_stays_finite() -> None:
    pairs = Pairs(np.asarray([1, 2, 1]), np.asarray([0, 0, 2]), 3)

    rates = expected_win_rates(
        pairs, np.asarray([[20.0, 10.0, 20.0]]), np.asarray([[20.0, 20.0, 20.0]]), anchor=0
    )[0]

    assert 0.999 < rates[1] <= 1
    assert rates[2] == pytest.approx(0.5, abs=0.001)


def test_a_player_without_games_in_a_round_is_unrated_in_it() -> None:
    pairs = Pairs(np.asarray([1, 2, 2]), np.asarray([0, 0, 1]), 3)

    rates = expected_win_rates(pairs, np.asarray([[3.0, 0.0, 0.0]]), np.asarray([[4.0, 0.0, 0.0]]), anchor=0)[
        0
    ]

    assert rates[1] == pytest.approx(0.75, abs=1e-5)
    assert np.isnan(rates[2])


def test_players_without_a_link_to_the_anchor_are_found() -> None:
    pairs = Pairs(np.asarray([1, 2]), np.asarray([0, 3]), 4)

    assert pairs.strangers(0).tolist() == [2, 3]
