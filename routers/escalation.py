"""Escalations: requests that cost more than a named expert's answer would, and what is left without them.

Pure. Who has how many of them is the service's (`app/serving/escalation_quota.py`).
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from routers.composition import Composition
from routers.decide import NoExpertFits
from routers.decision import SINGLE, Choice, Decision, Reason
from routers.strategy_choice import give_up_strategy

TOLERANCE = 1.1
"""An expert is dear whose expected cost is above so many times the baseline's: expected tokens of experts of
one size differ a little by chance."""
RULED_OUT = "its key's quota of escalations is used up"


def dear_experts(decision: Decision, composition: Composition, baseline: str | None = None) -> frozenset[str]:
    """The experts that are expected to cost more for this request than `baseline`; None: than the cheapest
    expert of the composition.

    Compared are dollars where they are known of every expert (and somebody costs any), else B·tokens where
    these are, else active parameters. Whether an expert may answer this request makes no difference.
    """
    choices = list(decision.ranking)
    if missing := set(composition.expert_names) - {choice.expert for choice in choices}:
        # The client named an expert that the composition does not have: its size alone is known.
        cards = [card for card in composition.experts if card.name in missing]
        choices += [Choice(card.name, 0.0, 0.0, 0.0, card.active_params_b) for card in cards]
    price = _prices(choices)
    own = [price[name] for name in composition.expert_names]
    bound = TOLERANCE * (min(own) if baseline is None else price[baseline])
    return frozenset(name for name, each in price.items() if each > bound)


def _prices(choices: Sequence[Choice]) -> dict[str, float]:
    for unit in ("cost", "compute"):
        known = {choice.expert: getattr(choice, unit) for choice in choices}
        if None not in known.values() and any(known.values()):
            return known
    return {choice.expert: choice.active_params_b for choice in choices}


def escalates(decision: Decision, dear: Collection[str]) -> bool:
    """Whether a dear expert answers, or several experts do."""
    return decision.strategy != SINGLE or decision.expert in dear


def rule_out(decision: Decision, dear: Collection[str]) -> Decision:
    """`decision` without `dear` experts to fall back to."""
    ranking = tuple(
        choice._replace(excluded=RULED_OUT)
        if choice.expert in dear and choice.excluded is None and choice.expert != decision.expert
        else choice
        for choice in decision.ranking
    )
    return replace(decision, ranking=ranking)


def limit(decision: Decision, dear: Collection[str], why: str) -> Decision:
    """What answers in the place of an escalation: one expert, the best of the ranking that is not `dear`.

    `why` is a clause that says what is used up. Raises NoExpertFits when nobody is left, and where the expert
    cannot be replaced: the client named it, or a tool call of it is open.
    """
    chosen = decision.expert if decision.expert in dear else decision.strategy
    if decision.expert in dear:
        if decision.reason is Reason.HELD or (decision.reason is Reason.PINNED and decision.category is None):
            raise NoExpertFits(f"{why}; {decision.expert} costs more", "escalation_quota_exceeded")
        left = [each for each in decision.ranking if each.excluded is None and each.expert not in dear]
        if not left:
            raise NoExpertFits(f"{why}; everybody who could answer costs more", "escalation_quota_exceeded")
        expert = left[0].expert
    else:
        expert = decision.expert
    if decision.strategy != SINGLE:
        decision = give_up_strategy(decision, why)
    limited = replace(
        decision,
        expert=expert,
        reason=Reason.LIMITED,
        limited_from=chosen,
        detail=f"{chosen} was chosen, but {why}; {expert} is the best within its price.",
    )
    return rule_out(limited, dear)
