"""Who chooses the strategy of a request, and in which order."""

import pytest

from app.serving.strategy_choice import choose_strategy
from routers.decision import Classification, Decision, Reason
from routers.policy import Policy, Rule
from routers.request import Request, Turn


def a_request(strategy: str | None = None) -> Request:
    return Request("r", (Turn("user", "a hard question"),), strategy=strategy)


def a_decision(classification: Classification = Classification.CLASSIFIED) -> Decision:
    return Decision(
        id="d",
        composition="c",
        classification=classification,
        category="law",
        probability=0.9,
        runners_up=(),
        ood_score=0.1,
        ranking=(),
        expert="large",
        strategy="single",
        reason=Reason.MATCHED,
        detail="",
    )


RULE = Rule("hard ones", keywords=("hard",), strategy="chain")


OPERATORS = (RULE,)


@pytest.mark.parametrize(
    ("asked", "policy", "operator", "chosen"),
    [
        ("single", Policy("large", strategy="panel"), "panel", ("single", "request")),
        (
            None,
            Policy("large", strategies={"law": "panel"}, strategy="chain"),
            "chain",
            ("panel", "category"),
        ),
        (
            None,
            Policy("large", strategies={"law": "single"}, strategy="chain"),
            "chain",
            ("single", "category"),
        ),
        (None, Policy("large", strategy="panel", rules=OPERATORS), "single", ("panel", "composition")),
        (None, Policy("large", rules=OPERATORS), "panel", ("chain", "rule")),
        (None, Policy("large"), "panel", ("panel", "setting")),
        (None, Policy("large"), "single", ("single", "default")),
    ],
)
def test_the_first_that_has_a_say_decides(
    asked: str | None, policy: Policy, operator: str, chosen: tuple[str, str]
) -> None:
    found = choose_strategy(a_request(asked), a_decision(), policy, operator=operator)
    assert (found.name, found.source) == chosen


def test_a_category_that_is_not_sure_has_no_say() -> None:
    policy = Policy("large", strategies={"law": "panel"})
    unsure = a_decision(Classification.UNCLASSIFIED)
    assert choose_strategy(a_request(), unsure, policy, operator="single").name == "single"


def test_giving_up_keeps_who_asked_and_says_why() -> None:
    given = choose_strategy(a_request("panel"), a_decision(), Policy("large"), operator="single")
    alone = given.given_up("there are tools")
    assert (alone.name, alone.source) == ("single", "request")
    assert alone.detail == "The client asked for panel. One expert answers: there are tools."
