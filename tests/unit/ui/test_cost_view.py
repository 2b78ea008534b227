"""What requests cost: the unit that is shown, and what is unknown."""

from typing import Any

import pytest

from client import DecisionRecord, RoutingDecision
from ui.cost_view import against_alternative, amount, cost_rows, unit_of


def record(**fields: Any) -> DecisionRecord:
    return DecisionRecord(expert="small", alternative="large", **fields)


def test_dollars_are_shown_where_prices_are_known() -> None:
    paid = record(expected_cost=0.001, cost=0.0012, alternative_cost=0.02, expected_compute=5.0, compute=6.0)
    assert cost_rows(paid) == [
        ("Expected", "$0.001"),
        ("Did cost", "$0.0012"),
        ("With large alone", "$0.02"),
    ]


def test_experts_that_cost_no_dollars_are_shown_by_what_they_compute() -> None:
    free = record(expected_cost=0.0, cost=0.0, alternative_cost=0.0, compute=6.0, alternative_compute=1234.0)
    assert cost_rows(free) == [
        ("Expected", "unknown"),
        ("Did cost", "6 B·tokens"),
        ("With large alone", "1,234 B·tokens"),
    ]


def test_what_an_answer_cost_is_unknown_before_it_is_stored() -> None:
    first = RoutingDecision(expert="small", alternative="large", expected_cost=0.5, alternative_cost=1.0)
    assert ("Did cost", "unknown") in cost_rows(first)


def test_nothing_known_is_no_row() -> None:
    assert cost_rows(record()) == []


def test_only_requests_that_are_known_on_both_sides_are_compared() -> None:
    rows = [record(cost=1.0, alternative_cost=4.0), record(cost=9.0), record(alternative_cost=9.0)]
    cost, compared = against_alternative(rows)
    assert (cost.spent, cost.alternative, compared) == (1.0, 4.0, 1)
    assert against_alternative(rows[1:])[0].spent is None


def test_a_list_has_one_unit() -> None:
    assert unit_of([record(compute=1.0), record(cost=0.1)]) == "dollars"
    assert unit_of([]) == "compute"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "$0"), (0.000123, "$0.00012"), (12.5, "$12.50"), (None, "unknown")]
)
def test_dollars_are_short(value: float | None, text: str) -> None:
    assert amount(value, "dollars") == text
