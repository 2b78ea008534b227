"""A plan asks where the map can still change, never more than there is, and expects to lose less for it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.planning import (
    ASSUMED_NOISE,
    MOST_SAMPLES,
    Cells,
    cells_of,
    expected_regret,
    plan,
    score_variance,
)
from routers.request import Matrix
from tests.unit.routers.world import CATEGORIES, CODER, LARGE, SMALL

EXPERTS = (SMALL, CODER, LARGE)
NAN = float("nan")


def cells(values: Any, errors: Any = 0.1, available: Any = np.inf, **facts: Any) -> Cells:
    table = np.asarray(values, dtype=np.float32)
    return Cells(
        **{
            "categories": CATEGORIES[: len(table)],
            "experts": ("small", "coder", "large")[: table.shape[1]],
            "values": table,
            "errors": np.broadcast_to(np.float32(errors), table.shape),
            "counts": np.full_like(table, 5),
            "available": np.broadcast_to(np.float32(available), table.shape),
            "weights": np.full(len(table), 1 / len(table), dtype=np.float32),
            "noise": 0.2,
            **facts,
        }
    )


def planned(found: Cells, judgments: int = 50) -> dict[tuple[str, str], int]:
    return {(each.category, each.expert): each.prompts for each in plan(found, judgments).cells}


def test_a_close_race_is_scored_and_a_settled_one_is_not() -> None:
    asked = planned(cells([[0.50, 0.52, 0.1], [0.1, 0.2, 0.95]]))
    assert {category for category, _ in asked} == {"coding"}
    assert {expert for _, expert in asked} == {"small", "coder"}
    assert sum(asked.values()) == 50


def test_of_two_alike_races_the_busier_category_goes_first() -> None:
    asked = planned(cells([[0.5, 0.5], [0.5, 0.5]], weights=np.asarray([0.9, 0.1], dtype=np.float32)), 20)
    by_category = {name: sum(n for (c, _), n in asked.items() if c == name) for name in CATEGORIES}
    assert by_category["coding"] > by_category["law"]


def test_the_less_certain_cell_is_asked_more() -> None:
    asked = planned(cells([[0.5, 0.5]], errors=[[0.02, 0.2]]), 10)
    assert asked.get(("coding", "coder"), 0) > asked.get(("coding", "small"), 0)


def test_a_single_expert_has_nothing_to_settle() -> None:
    found = plan(cells([[0.5], [0.4]]), 10)
    assert (found.cells, found.judgments, found.regret_now) == ((), 0, 0.0)


def test_a_leader_is_marked_and_the_gap_is_to_the_best_other() -> None:
    found = {each.expert: each for each in plan(cells([[0.50, 0.53, 0.52]]), 90).cells}
    assert found["coder"].leads and found["coder"].gap == pytest.approx(0.01, abs=1e-6)
    assert not found["small"].leads and found["small"].gap == pytest.approx(-0.03, abs=1e-6)


tables = st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), min_size=1, max_size=3)


@given(tables, st.floats(0.01, 0.3), st.integers(1, 300), st.integers(0, 40))
def test_a_plan_keeps_to_its_budget_and_to_the_prompts_there_are(
    values: list[list[float]], error: float, judgments: int, available: int
) -> None:
    found = plan(cells(values, error, available), judgments)
    assert found.judgments == sum(each.prompts for each in found.cells) <= judgments
    assert all(0 < each.prompts <= available for each in found.cells)
    assert 0 <= found.regret_after <= found.regret_now + 1e-3


@given(tables, st.floats(0.01, 0.3), st.integers(1, 200))
def test_the_same_knowledge_gives_the_same_plan(
    values: list[list[float]], error: float, judgments: int
) -> None:
    assert plan(cells(values, error), judgments) == plan(cells(values, error), judgments)


def test_no_error_no_regret_and_more_error_more() -> None:
    at = cells([[0.5, 0.45, 0.1]])
    regrets = [
        expected_regret(at.values, np.full_like(at.values, error), at.weights) for error in (0, 0.02, 0.2)
    ]
    assert regrets[0] == 0 < regrets[1] < regrets[2]


def scores(rows: list[list[float]]) -> Matrix:
    return np.asarray(rows, dtype=np.float32)


def test_cells_are_read_from_scores_and_gaps_are_what_can_be_asked() -> None:
    labels = np.asarray([0, 0, 1, 1, 2, 2])
    table = scores([[1, 0, NAN], [1, 0, NAN], [0, 1, 1], [0, 1, NAN], [1, 1, 1], [0, 0, 1]])
    found = cells_of(table, labels, CATEGORIES, EXPERTS)
    assert found.counts.tolist() == [[2, 2, 0], [2, 2, 1], [2, 2, 2]]
    assert found.available.tolist() == [[0, 0, 2], [0, 0, 1], [0, 0, 0]]
    assert found.errors[0, 2] > found.errors[1, 2] > found.errors[2, 2]
    assert found.values[0, 0] > found.values[0, 1]
    assert found.weights.sum() == pytest.approx(1)
    assert all(each.expert == "large" for each in plan(found, 10).cells)
    assert np.isinf(found.for_new_prompts().available).all()


def test_costs_are_taken_from_the_values() -> None:
    labels, table = np.asarray([0, 1, 2]), scores([[1, 0, 1], [0, 1, 1], [1, 1, 0]])
    dear = np.asarray([0.0, 0.0, 0.4], dtype=np.float32)
    free = cells_of(table, labels, CATEGORIES, EXPERTS)
    assert np.allclose(free.values - cells_of(table, labels, CATEGORIES, EXPERTS, costs=dear).values, dear)


def test_noise_is_what_scores_vary_inside_their_cells() -> None:
    labels = np.zeros(4, dtype=np.int64)
    lively, still = scores([[1, 0], [0, 1]] * 2), scores([[0.5, 0.5], [0.5, 0.5]] * 2)
    assert score_variance(lively, labels, 1) > ASSUMED_NOISE > score_variance(still, labels, 1) > 0
    many = np.zeros(4_000, dtype=np.int64)
    assert score_variance(np.tile(lively, (1_000, 1)), many, 1) == pytest.approx(0.25, abs=0.001)
    assert score_variance(scores([[1, NAN]]), np.zeros(1, dtype=np.int64), 1) == ASSUMED_NOISE


def test_planning_finds_the_best_with_fewer_scores_than_spreading_them() -> None:
    truth = np.asarray([[0.2, 0.3, 0.8], [0.5, 0.62, 0.1], [0.7, 0.2, 0.58]])
    rng = np.random.default_rng(5)
    right = {"even": 0, "planned": 0}
    for _ in range(40):
        for way in right:
            found = cells(np.full((3, 3), 0.5), 0.1, counts=np.zeros((3, 3), dtype=np.float32), noise=0.2)
            sums, counts = np.zeros((3, 3)), np.zeros((3, 3))
            for _ in range(12):
                given = np.full((3, 3), 2)
                if way == "planned":
                    given = np.zeros((3, 3), dtype=int)
                    for each in plan(found, 18).cells:
                        given[found.categories.index(each.category), found.experts.index(each.expert)] = (
                            each.prompts
                        )
                sums += rng.binomial(given, truth)
                counts += given
                precision = counts / 0.2 + 1 / 0.3**2
                values = (sums / 0.2 + 0.5 / 0.3**2) / precision
                found = replace(
                    found,
                    values=values.astype(np.float32),
                    errors=(1 / np.sqrt(precision)).astype(np.float32),
                )
            right[way] += int((found.values.argmax(axis=1) == truth.argmax(axis=1)).sum())
    assert right["planned"] > right["even"]


def test_known_prompts_are_asked_again_once_none_is_new_and_only_as_far_as_answers_differ() -> None:
    close = {"values": [[0.50, 0.52]], "available": 0, "noise": 0.2}
    assert plan(cells(**close), 10).cells == ()

    found = plan(cells(**close, sampling_noise=0.1), 10)

    assert found.judgments == sum(each.samples for each in found.cells) == 10
    assert not any(each.prompts for each in found.cells)
    assert cells(**close).exhausted and not cells(**close, sampling_noise=0.1).exhausted


def test_a_further_sample_tells_less_than_a_new_prompt_and_never_all() -> None:
    close = {"values": [[0.50, 0.52]], "sampling_noise": 0.1}
    again = plan(cells(**close, available=0), 50).regret_after
    assert plan(cells(**close), 50).regret_after < again
    assert plan(cells(**close, available=0), 100_000).judgments <= 2 * 5 * MOST_SAMPLES


def test_with_a_budget_of_compute_scores_are_weighed_by_what_they_take() -> None:
    dear = np.asarray([[1.0, 50.0]], dtype=np.float32)
    found = cells([[0.5, 0.5]], compute=dear)
    free = {each.expert: each.prompts for each in plan(found, 40).cells}
    paid = plan(found, 40, compute=120)

    assert paid.compute is not None and paid.compute <= 120
    share = {each.expert: each.prompts for each in paid.cells}
    assert share["small"] > share.get("coder", 0)
    assert free["coder"] > share.get("coder", 0)
    with pytest.raises(ValueError, match="coder"):
        plan(replace(found, compute=np.asarray([[1.0, NAN]], dtype=np.float32)), 40, compute=120)


def test_samples_of_a_prompt_tell_how_much_answers_differ() -> None:
    labels, table = np.asarray([0, 0, 1, 1]), scores([[0.5, 1], [0.5, 0], [0.25, 1], [0.75, 0]])
    samples, spread = np.full_like(table, 3), np.full_like(table, 0.5)
    once = cells_of(table, labels, CATEGORIES[:2], EXPERTS[:2])
    thrice = cells_of(table, labels, CATEGORIES[:2], EXPERTS[:2], samples=samples, spread=spread)

    assert once.sampling_noise == 0
    assert thrice.sampling_noise == pytest.approx(0.25)
    assert thrice.samples is not None and thrice.samples.tolist() == [[6, 6], [6, 6]]


def test_an_arm_is_valued_by_its_base_where_nobody_tried_it() -> None:
    labels = np.repeat([0, 1], 6)
    plain, other = [0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1], [1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0]
    arm = [NAN] * 6 + [1.0] * 6
    table = scores([list(row) for row in zip(plain, other, arm, strict=True)])
    experts = (CODER, LARGE, replace(SMALL, base=CODER.name))

    found = cells_of(table, labels, CATEGORIES[:2], experts)

    untried, tried = found.values[:, 2] - found.values[:, 0]
    assert untried < 0 < tried
    assert cells_of(table, labels, CATEGORIES[:2], (CODER, LARGE, SMALL)).values[0, 2] > found.values[0, 2]
