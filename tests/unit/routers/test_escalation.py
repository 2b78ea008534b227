"""What an escalation is, and what answers in its place."""

from dataclasses import replace

import pytest

from routers.decide import NoExpertFits, fall_back
from routers.decision import Reason
from routers.escalation import RULED_OUT, dear_experts, escalates, limit, rule_out
from tests.unit.routers.world import about, composition, routed

WHY = "the key desk has used up its quota"


def test_without_a_baseline_everybody_above_the_cheapest_is_dear() -> None:
    found = dear_experts(routed(about("law")), composition())
    assert found == {"coder", "large"}


def test_a_named_baseline_and_those_below_it_are_not_dear() -> None:
    assert dear_experts(routed(about("law")), composition(), "coder") == {"large"}
    assert dear_experts(routed(about("law")), composition(), "large") == frozenset()


@pytest.mark.parametrize(
    ("prices", "dear"),
    [
        ({"small": 0.010, "coder": 0.001, "large": 0.002}, {"small", "large"}),
        ({"small": 0.010, "coder": 0.001, "large": None}, {"coder", "large"}),
        ({"small": 0.0, "coder": 0.0, "large": 0.0}, {"coder", "large"}),
        ({"small": 0.0, "coder": 0.0, "large": 0.1}, {"large"}),
        ({"small": 0.0100, "coder": 0.0109, "large": 0.0112}, {"large"}),
    ],
)
def test_dollars_are_compared_where_all_are_known_and_somebody_costs_any(
    prices: dict[str, float | None], dear: set[str]
) -> None:
    decision = routed(about("law"))
    ranking = tuple(choice._replace(cost=prices[choice.expert]) for choice in decision.ranking)
    assert dear_experts(replace(decision, ranking=ranking), composition()) == dear


def test_compute_is_compared_where_dollars_are_not_known() -> None:
    decision = routed(about("law"))
    compute = {"small": 90.0, "coder": 50.0, "large": 51.0}
    ranking = tuple(choice._replace(compute=compute[choice.expert]) for choice in decision.ranking)
    assert dear_experts(replace(decision, ranking=ranking), composition()) == {"small"}


def test_an_expert_outside_the_composition_is_compared_by_its_size() -> None:
    decision = routed(about("law"))
    alone = decision.ranking[0]._replace(expert="outside", active_params_b=9.0, cost=0.1)
    pinned = replace(decision, ranking=(alone,), expert="outside")
    assert "outside" in dear_experts(pinned, composition(), "coder")
    assert "outside" not in dear_experts(pinned, composition(), "large")


def test_a_strategy_of_several_experts_is_an_escalation_whoever_begins() -> None:
    decision = routed(about("coding"))
    assert not escalates(decision, {"large"})
    assert escalates(replace(decision, strategy="panel"), {"large"})
    assert escalates(replace(decision, expert="large"), {"large"})


def test_the_best_that_is_not_dear_answers_and_the_decision_says_so() -> None:
    found = limit(routed(about("law")), {"large"}, WHY)
    assert (found.expert, found.limited_from, found.reason) == ("coder", "large", Reason.LIMITED)
    for word in (WHY, "large", "coder"):
        assert word in found.detail
    assert {each.expert: each.excluded for each in found.ranking}["large"] == RULED_OUT


def test_a_strategy_gives_way_to_one_expert() -> None:
    decision = replace(
        routed(about("coding")), strategy="panel", strategy_detail="The client asked for panel."
    )
    found = limit(decision, {"large"}, WHY)
    assert (found.expert, found.strategy, found.limited_from) == ("coder", "single", "panel")
    assert WHY in found.strategy_detail
    assert limit(decision, {"coder", "large"}, WHY).expert == "small"


@pytest.mark.parametrize(
    "facts",
    [
        {"pinned_expert": "large"},
        {"features": about("law"), "current_expert": "large", "hold": "tool_call"},
        {"features": about("law"), "exclude": frozenset({"small", "coder"})},
    ],
    ids=["named", "held", "nobody left"],
)
def test_nobody_answers_for_an_expert_that_cannot_be_replaced(facts: dict[str, object]) -> None:
    decision = routed(**facts)  # type: ignore[arg-type]
    assert decision.expert == "large"
    with pytest.raises(NoExpertFits, match=WHY) as caught:
        limit(decision, {"large"}, WHY)
    assert caught.value.code == "escalation_quota_exceeded"


def test_a_named_category_is_answered_by_another_expert() -> None:
    assert limit(routed(pinned_category="law"), {"large"}, WHY).expert == "coder"


def test_dear_experts_that_are_ruled_out_are_not_fallen_back_to() -> None:
    decision = rule_out(routed(about("coding")), {"large"})
    assert decision.expert == "coder"
    assert fall_back(decision, {"coder"}, "down").expert == "small"
