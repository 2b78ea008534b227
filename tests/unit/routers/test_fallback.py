"""An expert that cannot be reached is replaced by the next best, openly, or not at all."""

import pytest

from routers.decide import NoExpertFits, fall_back
from routers.decision import Reason
from routers.policy import Policy
from tests.unit.routers.world import UNCLEAR, about, routed


def test_the_next_of_the_ranking_answers_and_the_decision_says_so() -> None:
    decision = routed(about("coding"))
    spilled = fall_back(decision, {"coder"}, "it refused the connection")
    assert (spilled.expert, spilled.spilled_from, spilled.reason) == ("large", "coder", Reason.SPILLED)
    for word in ("coder", "(it refused the connection)", "large"):
        assert word in spilled.detail
    assert (spilled.id, spilled.category, spilled.ranking) == (decision.id, "coding", decision.ranking)


def test_a_second_fallback_remembers_who_was_chosen_first_and_never_goes_back() -> None:
    once = fall_back(routed(about("coding")), {"coder"}, "down")
    twice = fall_back(once, {"large"}, "down")
    assert (twice.expert, twice.spilled_from) == ("small", "coder")


def test_the_unavailable_are_passed_over() -> None:
    assert fall_back(routed(about("coding")), {"coder", "large"}, "down").expert == "small"


def test_an_expert_that_may_not_answer_is_never_fallen_back_to() -> None:
    decision = routed(about("coding"), exclude=frozenset({"large"}))
    assert fall_back(decision, {"coder"}, "down").expert == "small"
    too_long = routed(about("law"), prompt_tokens=5_000)
    with pytest.raises(NoExpertFits) as caught:
        fall_back(too_long, {"large"}, "down")
    assert caught.value.code == "expert_unavailable"


def test_an_unclear_request_falls_back_from_the_generalist_to_the_best_by_value() -> None:
    decision = routed(UNCLEAR, policy=Policy(generalist="small"))
    assert fall_back(decision, {"small"}, "down").expert == decision.ranking[0].expert


def test_when_everybody_is_down_it_is_an_error_that_says_why() -> None:
    with pytest.raises(NoExpertFits, match="all machines are off") as caught:
        fall_back(routed(about("coding")), {"small", "coder", "large"}, "all machines are off")
    assert caught.value.code == "expert_unavailable"


def test_a_pinned_expert_is_not_replaced() -> None:
    with pytest.raises(NoExpertFits, match="coder is unavailable") as caught:
        fall_back(routed(pinned_expert="coder"), {"coder"}, "down")
    assert caught.value.code == "expert_unavailable"


def test_a_pinned_category_keeps_its_category_and_may_fall_back() -> None:
    spilled = fall_back(routed(pinned_category="coding"), {"coder"}, "down")
    assert (spilled.expert, spilled.category) == ("large", "coding")
