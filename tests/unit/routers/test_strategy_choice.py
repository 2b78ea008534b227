"""Who chooses the strategy of a request, and in which order."""

import pytest

from routers.decide import decide
from routers.policy import Policy, Rule
from routers.strategy_choice import StrategySetting, give_up_strategy
from tests.unit.routers.world import UNCLEAR, about, composition, request, routed

RULES = (Rule("hard ones", keywords=("hello",), strategy="chain"),)


@pytest.mark.parametrize(
    ("asked", "policy", "operator", "chosen"),
    [
        ("single", Policy("large", strategy="panel"), "panel", ("single", "request")),
        (
            None,
            Policy("large", strategies={"law": "debate"}, strategy="chain"),
            "chain",
            ("debate", "category"),
        ),
        (
            None,
            Policy("large", strategies={"law": "single"}, strategy="chain"),
            "chain",
            ("single", "category"),
        ),
        (None, Policy("large", strategy="debate", rules=RULES), "single", ("debate", "composition")),
        (None, Policy("large", rules=RULES), "panel", ("chain", "rule")),
        (None, Policy("large"), "panel", ("panel", "setting")),
        (None, Policy("large"), "single", ("single", "default")),
    ],
)
def test_the_first_that_has_a_say_decides(
    asked: str | None, policy: Policy, operator: str, chosen: tuple[str, str]
) -> None:
    setting = StrategySetting(operator, ("single", "chain", "debate", "panel"))
    decision = decide(request(about("law"), strategy=asked), composition(), policy, setting)
    assert (decision.strategy, decision.strategy_source) == chosen


def test_a_category_that_is_not_sure_has_no_say() -> None:
    assert routed(UNCLEAR, policy=Policy("large", strategies={"law": "panel"})).strategy == "single"


def test_a_strategy_that_the_service_lacks_gives_way_and_the_decision_says_so() -> None:
    setting = StrategySetting(available=("single",))
    decision = decide(request(about("law")), composition(), Policy("large", strategy="panel"), setting)
    assert (decision.strategy, decision.strategy_source) == ("single", "composition")
    assert "no strategy 'panel'" in decision.strategy_detail


def test_giving_up_keeps_who_asked_and_says_why() -> None:
    alone = give_up_strategy(routed(about("law"), strategy="panel"), "there are tools")
    assert (alone.strategy, alone.strategy_source) == ("single", "request")
    assert "panel" in alone.strategy_detail and "there are tools" in alone.strategy_detail
