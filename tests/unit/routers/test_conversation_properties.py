"""Whatever a conversation holds: the same turns route alike, what is read is bounded, a conversation
leaves its expert for a reason, and nobody answers who cannot."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from routers.conversation import EARLIER_CHARACTERS, LATEST_CHARACTERS, routing_text
from routers.decide import NoExpertFits, decide
from routers.decision import Classification, Decision, Reason
from routers.policy import Policy
from routers.request import Capability, Request, Turn
from tests.unit.routers.world import (
    CATEGORIES,
    SMALL,
    UNCLEAR,
    about,
    card,
    composition,
    request,
)

EXPERTS = (
    replace(SMALL, capabilities=frozenset({Capability.JSON_SCHEMA})),
    card("coder", 1.5, context_length=4_000, capabilities=frozenset({Capability.TOOLS})),
    card("large", 70.0, context_length=8_000, capabilities=frozenset(Capability)),
)
NAMES = [each.name for each in EXPERTS]
WORLD = composition(EXPERTS)

roles = st.sampled_from(["system", "user", "assistant", "tool"])
conversations = st.lists(st.builds(Turn, roles, st.text(max_size=60)), max_size=8)
features = st.sampled_from([*(about(each) for each in CATEGORIES), about("law", 0.5), UNCLEAR])
requests = st.builds(
    request,
    features,
    prompt_tokens=st.integers(0, 9_000),
    output_tokens=st.integers(0, 2_000),
    needs=st.frozensets(st.sampled_from(list(Capability))),
    exclude=st.frozensets(st.sampled_from(NAMES), max_size=2),
    boost=st.dictionaries(st.sampled_from(NAMES), st.floats(-1, 1)),
    current_expert=st.sampled_from([None, *NAMES, "retired"]),
)
policies = st.builds(
    Policy,
    st.sampled_from(NAMES),
    threshold=st.floats(0, 1),
    ood_threshold=st.floats(0, 1),
    active_weight=st.floats(0, 0.05),
    switch_cost=st.floats(0, 0.5),
)


def decided(asked: Request, policy: Policy) -> Decision:
    """The decision; examples that nobody can take are passed over."""
    try:
        return decide(asked, WORLD, policy)
    except NoExpertFits:
        assume(False)
        raise


@given(requests, policies, conversations, st.integers(1, 5))
def test_the_same_conversation_is_routed_alike_every_time(
    asked: Request, policy: Policy, turns: list[Turn], recent: int
) -> None:
    asked = replace(asked, turns=tuple(turns))
    assert routing_text(turns, recent) == routing_text(tuple(turns), recent)
    first = decided(asked, policy)
    decided(replace(asked, features=UNCLEAR, current_expert="large"), policy)  # what else is in flight
    assert decided(replace(asked), policy) == first


@given(
    st.lists(st.integers(0, 120_000), min_size=1, max_size=4),
    st.integers(1, 5),
    st.sampled_from(["user", "tool"]),
)
def test_what_is_read_of_a_conversation_is_bounded(lengths: list[int], recent: int, role: str) -> None:
    turns = [Turn(role, "word " * (length // 5)) for length in lengths]
    read = routing_text(turns, recent)
    assert len(read) <= LATEST_CHARACTERS + recent * (EARLIER_CHARACTERS + 1)


@given(st.integers(LATEST_CHARACTERS + 1, 400_000))
def test_of_an_overlong_turn_every_part_is_read(length: int) -> None:
    text = "".join(f"{position:07d} " for position in range(0, length, 8))[:length]
    read = routing_text([Turn("user", text)])
    assert len(read) <= LATEST_CHARACTERS
    assert read.startswith(text[:1_000]) and read.endswith(text.rstrip()[-1_000:])
    # Between two passages lies no more than a twentieth of the text.
    marks = [int(word) for word in read.split() if len(word) == 7]
    gaps = [after - before for before, after in pairwise(marks)]
    assert max(gaps) <= length / 20 + 64


@given(conversations, st.text(min_size=1), st.integers(1, 4))
def test_answers_and_system_messages_change_nothing(turns: list[Turn], said: str, recent: int) -> None:
    assume(any(turn.role == "user" and turn.text.strip() for turn in turns))
    noisy = [turn for each in turns for turn in (Turn("assistant", said), each, Turn("system", said))]
    assert routing_text(noisy, recent) == routing_text(turns, recent)


@given(requests, policies)
def test_nobody_answers_who_is_excluded_too_short_or_not_able(asked: Request, policy: Policy) -> None:
    decision = decided(asked, policy)
    chosen = next(each for each in EXPERTS if each.name == decision.expert)
    assert chosen.name not in asked.exclude
    assert asked.needs <= chosen.capabilities
    assert chosen.context_length is not None
    assert asked.prompt_tokens + asked.output_tokens <= chosen.context_length
    assert {choice.expert for choice in decision.ranking} == set(NAMES)


@given(requests, policies)
def test_a_refusal_is_right_that_nobody_could_answer(asked: Request, policy: Policy) -> None:
    able = [
        each
        for each in EXPERTS
        if each.name not in asked.exclude
        and asked.needs <= each.capabilities
        and asked.prompt_tokens + asked.output_tokens <= (each.context_length or 0)
    ]
    if able:
        decide(asked, WORLD, policy)
        return
    with pytest.raises(NoExpertFits):
        decide(asked, WORLD, policy)


@given(requests, policies)
def test_a_conversation_is_left_only_for_a_gain_above_its_cost(asked: Request, policy: Policy) -> None:
    decision = decided(asked, policy)
    current = next((c for c in decision.ranking if c.expert == asked.current_expert), None)
    if current is None or current.excluded:
        assert decision.reason is not Reason.STICKY
        return
    if decision.classification is Classification.UNCLASSIFIED:
        assert (decision.expert, decision.reason) == (current.expert, Reason.STICKY)
        return
    cost = policy.switch_cost * asked.prompt_tokens / 1000
    gain = decision.ranking[0].value - current.value
    if decision.expert == current.expert:
        assert gain <= cost
    else:
        assert gain > cost


@given(requests, policies, st.floats(0, 1), st.floats(0, 1))
def test_a_dearer_switch_never_makes_a_conversation_leave(
    asked: Request, policy: Policy, one: float, other: float
) -> None:
    assume(asked.current_expert in NAMES)
    cheap, dear = sorted((one, other))
    if decided(asked, replace(policy, switch_cost=cheap)).expert == asked.current_expert:
        assert decided(asked, replace(policy, switch_cost=dear)).expert == asked.current_expert


@given(requests, policies, st.sampled_from(NAMES), st.floats(0, 1))
def test_a_boost_never_lowers_an_expert(asked: Request, policy: Policy, name: str, more: float) -> None:
    def place(decision: Decision) -> int:
        return [choice.expert for choice in decision.ranking].index(name)

    boosted: dict[str, float] = {**asked.boost, name: asked.boost.get(name, 0.0) + more}
    assert place(decided(replace(asked, boost=boosted), policy)) <= place(decided(asked, policy))


@given(requests, policies, st.sampled_from(NAMES))
def test_excluding_somebody_else_keeps_the_order_of_the_rest(
    asked: Request, policy: Policy, name: str
) -> None:
    before = decided(asked, policy)
    after = decided(replace(asked, exclude=asked.exclude | {name}), policy)

    def rest(decision: Decision) -> list[str]:
        return [c.expert for c in decision.ranking if c.excluded is None and c.expert != name]

    assert rest(before) == rest(after)


@given(requests, policies, st.sampled_from(NAMES))
def test_a_pin_is_kept_or_refused_and_never_replaced(asked: Request, policy: Policy, name: str) -> None:
    pinned = replace(asked, pinned_expert=name)
    try:
        decision = decide(pinned, WORLD, policy)
    except NoExpertFits:
        return
    assert (decision.expert, decision.reason) == (name, Reason.PINNED)
