"""The quality–cost curve runs from the cheapest decisions to the best, and its hull is a hull."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from routers.cost_curve import CurvePoint, cost_curve, score_at, upper_hull
from tests.unit.routers.world import card

EXPERTS = (card("small", 7), card("large", 70))


def planted(rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """The large expert is right; the small one where `easy`, which the estimates know."""
    easy = np.random.default_rng(0).random(rows)
    scores = np.stack([(easy > 0.5).astype(np.float32), np.ones(rows, dtype=np.float32)], axis=1)
    return np.stack([easy, np.ones(rows)], axis=1).astype(np.float32), scores


def test_the_curve_spans_all_costs_and_beats_mixing_by_chance() -> None:
    expected, scores = planted()
    found = cost_curve(expected, scores, EXPERTS)
    assert found.points[0].cost == 7
    assert found.points[-1].cost == 70
    half = 7 + 63 * float(scores[:, 0].mean())
    assert (score_at(found.hull, half) or 0) > (score_at(found.line, half) or 0) + 0.15
    assert score_at(found.hull, 5) is None


def test_its_document_is_json_of_numbers() -> None:
    document = cost_curve(*planted(), EXPERTS, "active_params_b").document()
    assert set(document) == {"by", "curve", "strategies", "hull", "experts", "experts_hull"}
    assert {"weight", "active_params_b", "score"} == set(document["curve"][0])


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1)), min_size=1, max_size=30))
def test_no_point_lies_above_the_hull(pairs: list[tuple[float, float]]) -> None:
    points = [CurvePoint(0.0, cost, score) for cost, score in pairs]
    hull = upper_hull(points)
    assert [p.cost for p in hull] == sorted(p.cost for p in hull)
    for point in points:
        reached = score_at(hull, point.cost)
        assert reached is None or reached >= point.score - 1e-9


def test_a_strategy_above_the_choices_of_one_expert_is_on_the_hull() -> None:
    expected, scores = (
        np.asarray([[0.4, 0.6]] * 4),
        np.asarray([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]),
    )
    curve = cost_curve(expected, scores, (card("small", 1.0), card("large", 10.0)))

    found = curve.with_strategies(
        [CurvePoint(0.0, 11.0, 0.75, "vote@11b"), CurvePoint(0.0, 20.0, 0.1, "panel@20b")]
    )

    assert [point.strategy for point in found.hull] == [None, "vote@11b"]
    assert found.document()["hull"][-1] == {
        "strategy": "vote@11b",
        "active_params_b": 11.0,
        "score": 0.75,
    }
