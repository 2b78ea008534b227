"""Exploration: a share of requests goes to an expert drawn at random, with its probability recorded.

A log of best choices says nothing about other experts. With known propensities it can be reweighted to
estimate what another composition would have scored (`coterie eval offpolicy`). Off by default.

`routers.decide` stays pure: the draw is a hash of the decision's id, made here, afterwards.
"""

import hashlib
from dataclasses import dataclass, replace

from routers.decision import Classification, Decision, Reason

EXPLORED_REASONS = frozenset({Reason.MATCHED, Reason.UNCERTAIN, Reason.FILTERED})
"""Reasons of decisions that may be explored: never pins, rules, kept conversations or open tool calls."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """With probability `rate` an eligible expert, drawn uniformly, answers. `seed` gives other draws."""

    rate: float = 0.0
    seed: int = 0

    def apply(self, decision: Decision, *, in_conversation: bool = False) -> Decision:
        """`decision`, perhaps for another expert, with the propensity of its expert.

        Eligible is every expert that is not excluded. Nothing is explored `in_conversation`, which would
        change its expert. Deterministic.
        """
        if (
            not self.rate
            or in_conversation
            or decision.reason not in EXPLORED_REASONS
            or decision.classification is Classification.SKIPPED  # a category was named
            or decision.strategy != "single"
        ):
            return decision
        eligible = sorted(choice.expert for choice in decision.ranking if choice.excluded is None)
        even = self.rate / len(eligible)
        whether, which = _draws(f"{self.seed}:{decision.id}")
        drawn = eligible[int(which * len(eligible))]
        if whether >= self.rate or drawn == decision.expert:
            return replace(decision, propensity=1 - self.rate + even)
        return replace(
            decision,
            expert=drawn,
            reason=Reason.EXPLORED,
            propensity=even,
            explored_from=decision.expert,
            detail=f"{decision.expert} was chosen; {drawn} answers, drawn at random to learn how it does.",
        )


def _draws(text: str) -> tuple[float, float]:
    """Two independent uniform numbers in [0, 1), by a hash of `text`."""
    digest = hashlib.sha256(text.encode()).digest()
    return (
        (int.from_bytes(digest[:8], "big") >> 11) / 2**53,
        (int.from_bytes(digest[8:16], "big") >> 11) / 2**53,
    )
