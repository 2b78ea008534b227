"""The decision: a pure function of the request, the composition and the policy.

Load and health have no part in it. When the chosen expert turns out to be unavailable, `fall_back` makes
a new decision from the old one's ranking, and says so.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from base.token_count import TokenCount
from routers.composition import Composition, ExpertCard
from routers.conversation import is_blank, routing_text
from routers.decision import CategoryProbability, Choice, Classification, Decision, Reason
from routers.estimate import estimate
from routers.outlook import Outlook
from routers.policy import MatchedRules, Policy, Rule, match_rules
from routers.request import Request
from routers.request_costs import UNKNOWN_USE, MeanUse
from routers.strategy_choice import StrategySetting, choose_strategy, one_expert

RUNNERS_UP = 3
ANY_STRATEGY = StrategySetting()


class RoutingError(Exception):
    """A request that cannot be routed; `code` is for machines, the message for people."""

    code = "routing_error"


class UnknownName(RoutingError):
    """A pinned expert or category is not in the composition."""

    code = "model_not_found"


class NoExpertFits(RoutingError):
    """Every expert is ruled out; `code` is what ruled out the last hope."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class _Stage1:
    """What is known of the request: its category if there is one, and what each expert is worth for it."""

    classification: Classification
    outlook: Outlook
    category: str | None
    probability: float | None
    runners_up: tuple[CategoryProbability, ...] = ()
    ood_score: float | None = None
    corrections: Sequence[float] | None = None
    """What the request itself adds to the utilities, by expert; None: nothing."""


def decide(
    request: Request,
    composition: Composition,
    policy: Policy,
    strategies: StrategySetting = ANY_STRATEGY,
    rules: MatchedRules | None = None,
) -> Decision:
    """Choose the expert and the strategy for `request`.

    The same arguments give the same decision. `request.features` must be set unless an expert or a category
    is pinned, a rule decides, or there is no text to classify (an image alone). `rules` are those of the
    policy that match, None matches them here. Raises UnknownName for a pin that the composition does not have
    and NoExpertFits when no expert may answer.
    """
    rules = match_rules(policy.rules, request) if rules is None else rules
    rule = rules.target
    expert = request.pinned_expert or (rule.expert if rule else None)
    category = request.pinned_category or (rule.category if rule else None)
    _check_names(composition, expert, category, request.exclude)
    if expert or category:
        outlook = composition.outlook_unread(policy, category)
        stage1 = _Stage1(Classification.SKIPPED, outlook, category, None)
    else:
        stage1 = _classify(request, composition, policy)
    ranking = _rank(request, composition, stage1)
    chosen, reason, detail = _choose(request, composition, policy, stage1, ranking, expert, rule)
    sure = stage1.classification is not Classification.UNCLASSIFIED
    certain = stage1.category if sure else None
    strategy = choose_strategy(request, certain, policy, rules.strategy, strategies, composition)
    if reason is Reason.HELD:
        strategy = one_expert(strategy, "a tool call is open")
    return Decision(
        id=request.id,
        composition=composition.digest,
        classification=stage1.classification,
        category=stage1.category,
        probability=stage1.probability,
        runners_up=stage1.runners_up,
        ood_score=stage1.ood_score,
        ranking=ranking,
        expert=chosen,
        strategy=strategy.name,
        strategy_source=strategy.source,
        strategy_detail=strategy.detail,
        reason=reason,
        detail=detail,
        alternative=policy.alternative or composition.alternative,
        posterior=stage1.outlook.posterior,
    )


def refuse_unfit(request: Request, composition: Composition) -> None:
    """Raise what `decide` would when no expert may answer, whatever the category: before an enormous
    request is read that nobody takes."""
    _check_names(composition, None, None, request.exclude)
    ruled_out = {card.name: exclusion(card, request) for card in composition.experts}
    held = None if request.hold != "tool_call" or request.pinned_expert else request.current_expert
    if held is not None and (why := ruled_out.get(held)):
        raise _held_up(held, why, request, composition)
    if all(ruled_out.values()):
        raise _nobody(ruled_out, request, composition)


def fall_back(
    decision: Decision, out: Collection[str], why: str, reason: Reason = Reason.SPILLED
) -> Decision:
    """The decision after `decision.expert` could not answer: the next of the ranking answers.

    `out` names every expert that cannot, the chosen one included; `why` ends the sentence "it …". `reason` is
    `spilled` where the expert was unavailable, `filtered` where the request does not fit it. Raises
    NoExpertFits when nobody is left, or when the client had named the expert: a pin is kept, not replaced.
    """
    too_long = reason is Reason.FILTERED
    code = "context_length_exceeded" if too_long else "expert_unavailable"
    state = "cannot take the request" if too_long else "is unavailable"
    if decision.reason is Reason.PINNED and decision.category is None:
        raise NoExpertFits(f"{decision.expert} {state} ({why})", code)
    if decision.reason is Reason.HELD:
        raise NoExpertFits(f"{decision.expert}, whose tool call is open, {state} ({why})", code)
    rest = [
        choice
        for choice in decision.ranking
        if choice.excluded is None
        and choice.expert not in out
        and choice.expert not in (decision.expert, decision.spilled_from)
    ]
    if not rest:
        raise NoExpertFits(f"no other expert can answer: {decision.expert} {state} ({why})", code)
    first = decision.spilled_from or decision.expert
    chosen = (
        f"{first} was chosen but" if first == decision.expert else f"{first} was chosen; {decision.expert}"
    )
    return replace(
        decision,
        expert=rest[0].expert,
        reason=reason,
        spilled_from=first,
        propensity=None,  # whoever answers now was not drawn: nothing is known of its chance
        detail=f"{chosen} {state} ({why}); {rest[0].expert} is the next best.",
    )


def _check_names(
    composition: Composition, expert: str | None, category: str | None, exclude: Collection[str]
) -> None:
    for kind, name, known in (
        ("expert", expert, composition.expert_names),
        ("category", category, composition.categories),
        *(("expert", name, composition.expert_names) for name in sorted(exclude)),
    ):
        if name is not None and name not in known:
            raise UnknownName(f"the composition has no {kind} {name!r}: it has {', '.join(known)}")


def _classify(request: Request, composition: Composition, policy: Policy) -> _Stage1:
    if request.features is None:
        if not is_blank(routing_text(request.turns, policy.recent_turns)):
            raise ValueError("a request that is to be classified needs its features")
        nothing_known = composition.outlook_unread(policy, None)
        return _Stage1(Classification.UNCLASSIFIED, nothing_known, None, None)
    found = estimate(composition, request.features[None, :], trust=policy.trust)
    posterior, ood_score = found.posterior[0], float(found.novelty[0])
    order = np.argsort(-posterior, kind="stable")
    top = int(order[0])
    sure = posterior[top] >= policy.threshold and ood_score <= policy.ood_threshold
    return _Stage1(
        classification=Classification.CLASSIFIED if sure else Classification.UNCLASSIFIED,
        outlook=composition.outlook(policy, found.utilities[0], posterior),
        category=composition.categories[top],
        probability=float(posterior[top]),
        runners_up=tuple(
            CategoryProbability(composition.categories[int(each)], float(posterior[each]))
            for each in order[1 : 1 + RUNNERS_UP]
        ),
        ood_score=ood_score,
        corrections=found.corrections[0].tolist(),
    )


def _rank(request: Request, composition: Composition, stage1: _Stage1) -> tuple[Choice, ...]:
    """Every expert, best value first, those that may not answer last. The costs that are shown use the
    request's own tokens."""
    experts, outlook = composition.experts, stage1.outlook
    nobody_counted = TokenCount.counted(request.prompt_tokens)
    corrections = stage1.corrections or [0.0] * len(experts)
    uses: Sequence[MeanUse | None] = outlook.uses or [None] * len(experts)
    choices = []
    columns = zip(experts, uses, outlook.utilities, corrections, outlook.costs, strict=True)
    for card, mean, utility, correction, cost in columns:
        name = card.name
        count = request.prompt_counts.get(name, nobody_counted)
        use = UNKNOWN_USE if mean is None else mean.of(count.tokens)
        value = utility + correction + request.boost.get(name, 0.0) - cost
        excluded = exclusion(card, request, count)
        choices.append(Choice(name, utility, correction, value, card.active_params_b, *use, excluded))
    choices.sort(key=_place)
    return tuple(choices)


def _place(choice: Choice) -> tuple[bool, float, float, str]:
    """Those that may answer first; see `_order`."""
    return choice.excluded is not None, -choice.value, choice.active_params_b, choice.expert


def exclusion(card: ExpertCard, request: Request, count: TokenCount | None = None) -> str | None:
    """Why an expert may not answer a request, as the end of a sentence; None if it may. `count`: the prompt's
    tokens for it, where they were looked up already."""
    if request.exclude and card.name in request.exclude:
        return "the client excluded it"
    if request.needs and not request.needs <= card.capabilities:
        return f"it lacks {', '.join(sorted(request.needs - card.capabilities))}"
    if card.context_length is None:
        return None
    count = count or request.prompt_count(card.name)
    if count.least + request.output_tokens <= card.context_length:
        return None
    return _too_long(count, request.output_tokens, card.context_length)


def _too_long(prompt: TokenCount, answer: int, context_length: int) -> str:
    """That a prompt surely does not fit a context. Where it may the expert is tried."""
    said = f"{prompt.least:,}" if prompt.method == "counted" else f"at least {prompt.least:,}"
    room = f" and needs {answer} for an answer" if prompt.least <= context_length else ""
    return f"the request has {said} tokens ({prompt.method}){room}, its context has {context_length:,}"


def _choose(
    request: Request,
    composition: Composition,
    policy: Policy,
    stage1: _Stage1,
    ranking: tuple[Choice, ...],
    expert: str | None,
    rule: Rule | None,
) -> tuple[str, Reason, str]:
    by_name = {choice.expert: choice for choice in ranking}
    if held := _held(request, composition, by_name):
        return held
    if expert is not None:
        if by_name[expert].excluded:
            raise _nobody({expert: by_name[expert].excluded}, request, composition)
        if rule:
            return expert, Reason.RULE, f"The operator's rule {rule.name!r} names {expert}."
        return expert, Reason.PINNED, f"The client asked for {expert}."
    best = ranking[0]
    if best.excluded:
        raise _nobody({choice.expert: choice.excluded for choice in ranking}, request, composition)
    if stage1.classification is Classification.SKIPPED:
        return _choose_for_category(stage1, rule, best, _ideal(ranking, request))
    if stage1.classification is Classification.UNCLASSIFIED:
        return _choose_unclassified(request, policy, stage1, by_name, best)
    if stay := _stays(request, policy, stage1, by_name, best):
        return stay
    ideal = _ideal(ranking, request)
    if ideal is not best:
        detail = f"{ideal.expert} would be best for {stage1.category}, but {ideal.excluded}."
        return best.expert, Reason.FILTERED, detail
    return best.expert, Reason.MATCHED, f"{best.expert} has the best expected value for {stage1.category}."


def _choose_for_category(
    stage1: _Stage1, rule: Rule | None, best: Choice, ideal: Choice
) -> tuple[str, Reason, str]:
    """The choice where the client or a rule names the category."""
    said = f"The operator's rule {rule.name!r} names" if rule else "The client asked for"
    detail = f"{said} the category {stage1.category}"
    if ideal is best:
        return best.expert, Reason.RULE if rule else Reason.PINNED, f"{detail}; {best.expert} is best for it."
    why = f"{ideal.expert} would be best for it, but {ideal.excluded}"
    return best.expert, Reason.FILTERED, f"{detail}; {why}."


def _ideal(ranking: Sequence[Choice], request: Request) -> Choice:
    """The best choice were it not for its context length and capabilities; what the client excludes
    is not in question."""
    return min(ranking, key=lambda c: (c.expert in request.exclude, *_order(c)))


def _order(choice: Choice) -> tuple[float, float, str]:
    """Best value first; of equal ones the smaller expert, then by name, so that the order is settled."""
    return -choice.value, choice.active_params_b, choice.expert


def _choose_unclassified(
    request: Request, policy: Policy, stage1: _Stage1, by_name: dict[str, Choice], best: Choice
) -> tuple[str, Reason, str]:
    if stage1.probability is None:
        why = "without text that the router could classify"
    else:
        likeliest = f"{stage1.category} is likeliest at {stage1.probability:.0%}"
        far = stage1.ood_score is not None and stage1.ood_score > policy.ood_threshold
        why = f"unlike what the router has seen ({likeliest})" if far else f"not clear: {likeliest}"
    current = by_name.get(request.current_expert or "")
    if current and current.excluded is None:
        return (
            current.expert,
            Reason.STICKY,
            f"The request is {why}; the conversation keeps {current.expert}.",
        )
    generalist = by_name[policy.generalist]
    if generalist.excluded is None:
        return generalist.expert, Reason.UNCERTAIN, f"The request is {why}; the generalist answers."
    detail = f"The request is {why}, and the generalist cannot answer: {generalist.excluded}."
    return best.expert, Reason.FILTERED, detail


def _held(
    request: Request, composition: Composition, by_name: dict[str, Choice]
) -> tuple[str, Reason, str] | None:
    """The expert whose tool call is open, unless the client names another one. One that has left the
    composition is nobody to wait for."""
    current = by_name.get(request.current_expert or "")
    if request.hold != "tool_call" or current is None or request.pinned_expert is not None:
        return None
    if current.excluded:
        raise _held_up(current.expert, current.excluded, request, composition)
    detail = f"A tool call of {current.expert} is open; it goes on."
    return current.expert, Reason.HELD, detail


def _held_up(expert: str, why: str, request: Request, composition: Composition) -> NoExpertFits:
    """The expert whose tool call is open may not answer."""
    refused = _nobody({expert: why}, request, composition)
    return NoExpertFits(f"a tool call of {expert} is open, and {refused}", refused.code)


def _stays(
    request: Request, policy: Policy, stage1: _Stage1, by_name: dict[str, Choice], best: Choice
) -> tuple[str, Reason, str] | None:
    current = by_name.get(request.current_expert or "")
    if current is None or current.excluded or current.expert == best.expert:
        return None
    gain = best.value - current.value
    cost = policy.switch_cost * request.prompt_tokens * request.prefix_share / 1000
    if request.hold == "provider_state" and stage1.category == request.current_category:
        detail = (
            f"{best.expert} would gain {gain:.3f}, but could not read the state that {current.expert} "
            f"keeps in the conversation; the conversation keeps {current.expert}."
        )
        return current.expert, Reason.STICKY, detail
    if gain > cost:
        return None
    detail = (
        f"{best.expert} would gain {gain:.3f}, less than the {cost:.3f} of losing "
        f"{current.expert}'s prefix cache; the conversation keeps {current.expert}."
    )
    return current.expert, Reason.STICKY, detail


def _nobody(ruled_out: Mapping[str, str | None], request: Request, composition: Composition) -> NoExpertFits:
    """`ruled_out`: why each expert that could be asked may not answer."""
    reasons = "; ".join(f"{expert}: {why}" for expert, why in ruled_out.items())
    cards = [c for c in composition.experts if c.name in ruled_out and c.name not in request.exclude]
    if not cards:
        return NoExpertFits(f"every expert is excluded: {reasons}", "no_expert_left")
    if all(request.needs - card.capabilities for card in cards):
        message = (
            f"no expert can do what the request needs: {reasons}. Leave that out, or have an expert that can "
            "added to the registry"
        )
        return NoExpertFits(message, "capability_unavailable")
    able = [card for card in cards if not request.needs - card.capabilities]
    largest = max((card.context_length or 0 for card in able), default=0)
    return NoExpertFits(
        f"the request is too long for every expert that could take it; the largest context has {largest:,} "
        f"tokens: {reasons}",
        "context_length_exceeded",
    )
