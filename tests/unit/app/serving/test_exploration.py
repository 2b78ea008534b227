"""Exploration draws by the decision's id alone, with the chances it says, and never against a wish."""

from collections import Counter
from dataclasses import replace

import pytest

from app.serving.exploration import Exploration
from routers.decision import Choice, Classification, Decision, Reason

RANKING = (
    Choice("best", 0.9, 0.0, 0.9, 7.0, 0.0),
    Choice("second", 0.6, 0.0, 0.6, 3.0, 0.0),
    Choice("third", 0.5, 0.0, 0.5, 1.0, 0.0),
    Choice("blind", 0.4, 0.0, 0.4, 1.0, 0.0, excluded="it lacks vision"),
)
DECISION = Decision(
    id="dec_0",
    composition="c",
    classification=Classification.CLASSIFIED,
    category="coding",
    probability=0.9,
    runners_up=(),
    ood_score=0.1,
    ranking=RANKING,
    expert="best",
    strategy="single",
    reason=Reason.MATCHED,
    detail="best has the best expected value for coding.",
)


def explored(rate: float, count: int = 20_000, seed: int = 0) -> list[Decision]:
    exploration = Exploration(rate, seed)
    return [exploration.apply(replace(DECISION, id=f"dec_{number}")) for number in range(count)]


def test_nothing_is_explored_unless_the_operator_says_so() -> None:
    assert Exploration().apply(DECISION) is DECISION


def test_experts_answer_as_often_as_their_propensity_says() -> None:
    found = explored(0.3)
    shares = Counter(each.expert for each in found)
    assert set(shares) == {"best", "second", "third"}
    for decision in found:
        chance = 0.8 if decision.expert == "best" else 0.1
        assert decision.propensity == pytest.approx(chance)
        assert abs(shares[decision.expert] / len(found) - chance) < 0.01


def test_the_same_decision_draws_the_same_and_another_seed_draws_anew() -> None:
    assert explored(0.5, 200) == explored(0.5, 200)
    assert explored(0.5, 200) != explored(0.5, 200, seed=1)


def test_an_explored_decision_says_who_was_chosen_and_why_another_answers() -> None:
    found = next(each for each in explored(1.0, 50) if each.expert != "best")
    assert (found.reason, found.explored_from) == (Reason.EXPLORED, "best")
    assert found.propensity == pytest.approx(1 / 3)
    assert "drawn at random" in found.detail
    assert found.ranking == RANKING


@pytest.mark.parametrize("reason", [Reason.PINNED, Reason.RULE, Reason.STICKY])
def test_wishes_rules_and_conversations_that_stay_are_left_alone(reason: Reason) -> None:
    decision = replace(DECISION, reason=reason)
    assert Exploration(1.0).apply(decision) is decision


def test_a_conversation_that_has_an_expert_and_other_strategies_are_left_alone() -> None:
    assert Exploration(1.0).apply(DECISION, in_conversation=True) is DECISION
    panel = replace(DECISION, strategy="panel")
    assert Exploration(1.0).apply(panel) is panel


def test_with_one_expert_left_it_answers_for_sure() -> None:
    decision = replace(DECISION, ranking=(RANKING[0], RANKING[3]))
    found = Exploration(0.5).apply(decision)
    assert (found.expert, found.propensity) == ("best", 1.0)


def test_a_named_category_is_not_explored_when_its_best_expert_was_left_out() -> None:
    named = replace(DECISION, classification=Classification.SKIPPED, reason=Reason.FILTERED)
    assert Exploration(1.0).apply(named) is named
