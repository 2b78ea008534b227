"""Exploration: now and then another expert answers than the router would choose, with its chance noted.

A log of best choices says nothing of the other experts. When a known share of requests goes to an expert
drawn at random, the log can be reweighted by those chances to estimate what any other composition would
have scored (`coterie eval offpolicy`). Off unless the operator turns it on.

`routers.decide` stays pure: the draw is a hash of the decision's id, made here, afterwards.
"""

import hashlib
from dataclasses import dataclass, replace

from routers.decision import Decision, Reason

EXPLORED_REASONS = frozenset({Reason.MATCHED, Reason.UNCERTAIN, Reason.FILTERED})
"""Decisions that were the router's own. Pins, rules and conversations that stay are never overruled."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """With probability `rate` an eligible expert, drawn evenly, answers. `seed` gives other draws."""

    rate: float = 0.0
    seed: int = 0

    def apply(self, decision: Decision, *, in_conversation: bool = False) -> Decision:
        """`decision`, perhaps for another expert, with the chance that it had to be for that expert.

        Eligible is every expert that may answer. `in_conversation`: an expert has this conversation
        already, and exploring would cost it its coherence. The same decision gives the same result.
        """
        if (
            not self.rate
            or in_conversation
            or decision.reason not in EXPLORED_REASONS
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
    """Two numbers in 0..1 (1 excluded), independent and even over texts."""
    digest = hashlib.sha256(text.encode()).digest()
    return (
        (int.from_bytes(digest[:8], "big") >> 11) / 2**53,
        (int.from_bytes(digest[8:16], "big") >> 11) / 2**53,
    )
