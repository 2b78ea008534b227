"""What requests were expected to cost, did cost, and would have cost with one fixed expert.

In dollars where any of these is above 0, else in B·tokens (active parameters times tokens): models of one's
own have no price. Unknown is None, and shown as such.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from client import DecisionRecord, RoutingDecision

Unit = Literal["dollars", "compute"]
MARKS: dict[Unit, str] = {"dollars": "$", "compute": "B·tokens"}


@dataclass(frozen=True, slots=True)
class RequestCost:
    """One request, in `unit`: `expected` of the expert that answered, `spent` by all its calls, `alternative`
    expected of the fixed expert."""

    unit: Unit
    expected: float | None
    spent: float | None
    alternative: float | None

    @property
    def known(self) -> bool:
        return any(each is not None for each in (self.expected, self.spent, self.alternative))


def cost_of(decision: RoutingDecision, unit: Unit | None = None) -> RequestCost:
    """What `decision` says, in the `unit` that says most of it when none is given."""
    unit = unit or unit_of([decision])
    stored = decision if isinstance(decision, DecisionRecord) else None
    if unit == "dollars":
        spent = None if stored is None else stored.cost
        return RequestCost(unit, decision.expected_cost, spent, decision.alternative_cost)
    spent = None if stored is None else stored.compute
    return RequestCost(unit, decision.expected_compute, spent, decision.alternative_compute)


def unit_of(decisions: Sequence[RoutingDecision]) -> Unit:
    """The unit that tells `decisions` apart."""
    paid = (cost_of(each, "dollars") for each in decisions)
    return "dollars" if any(each.expected or each.spent or each.alternative for each in paid) else "compute"


def amount(value: float | None, unit: Unit) -> str:
    """`$0.0012`, `58 B·tokens` or `unknown`."""
    if value is None:
        return "unknown"
    if unit == "dollars":
        return f"${value:.2g}" if value < 0.1 else f"${value:,.2f}"
    return f"{value:.2g} B·tokens" if value < 10 else f"{value:,.0f} B·tokens"


def cost_rows(decision: RoutingDecision) -> list[tuple[str, str]]:
    """Names and amounts for people; empty when nothing is known."""
    cost = cost_of(decision)
    if not cost.known:
        return []
    rows = [("Expected", amount(cost.expected, cost.unit)), ("Did cost", amount(cost.spent, cost.unit))]
    if decision.alternative is not None:
        rows.append((f"With {decision.alternative} alone", amount(cost.alternative, cost.unit)))
    return rows


def against_alternative(records: Sequence[DecisionRecord]) -> tuple[RequestCost, int]:
    """The sums over the requests of which both what they cost and the alternative are known, and how many
    these are."""
    unit = unit_of(records)
    both = [
        (cost.spent, cost.alternative)
        for cost in (cost_of(each, unit) for each in records)
        if cost.spent is not None and cost.alternative is not None
    ]
    if not both:
        return RequestCost(unit, None, None, None), 0
    spent, alternative = (sum(side) for side in zip(*both, strict=True))
    return RequestCost(unit, None, spent, alternative), len(both)
