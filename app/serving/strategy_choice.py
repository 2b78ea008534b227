"""Which strategy answers a request, and who said so: the request, else the composition, else the operator."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from routers.decision import SINGLE, Classification, Decision
from routers.policy import Policy
from routers.request import Request

Source = Literal["request", "category", "composition", "rule", "setting", "default"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A strategy by name, where it came from, and a sentence that says so."""

    name: str = SINGLE
    source: Source = "default"
    detail: str = ""
    options: Mapping[str, Any] | None = None
    """The request's own options."""

    @property
    def single(self) -> bool:
        return self.name == SINGLE

    def given_up(self, why: str) -> "Chosen":
        """The same wish, answered by one expert; `why` ends a sentence."""
        return replace(self, name=SINGLE, detail=f"{self.detail} One expert answers: {why}.".strip())


DEFAULT = Chosen()


def choose_strategy(
    request: Request,
    decision: Decision,
    policy: Policy,
    *,
    operator: str,
    options: Mapping[str, Any] | None = None,
) -> Chosen:
    """The first that has a say: the request's `strategy`, the composition's policy (that of the category
    before that of all), an operator's rule, the `operator`'s setting."""
    if request.strategy is not None:
        return Chosen(request.strategy, "request", f"The client asked for {request.strategy}.", options)
    category = decision.category
    sure = decision.classification is not Classification.UNCLASSIFIED
    if sure and category is not None and category in policy.strategies:
        name = policy.strategies[category]
        return Chosen(name, "category", f"The composition answers {category} with {name}.", options)
    if policy.strategy != SINGLE:
        return Chosen(
            policy.strategy, "composition", f"The composition answers with {policy.strategy}.", options
        )
    for rule in policy.rules:
        if rule.strategy is not None and rule.matches(request):
            detail = f"The operator's rule {rule.name!r} names {rule.strategy}."
            return Chosen(rule.strategy, "rule", detail, options)
    if operator != SINGLE:
        return Chosen(operator, "setting", f"The operator's setting is {operator}.", options)
    return DEFAULT
