"""Each decision says why; each refusal says what would help."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from base.token_count import TokenCount
from routers.decide import NoExpertFits, UnknownName, decide, fall_back
from routers.decision import Classification, Decision, Reason
from routers.policy import Policy, Rule
from routers.request import Capability, Request, Turn, Vector
from routers.request_costs import ExpectedTokens, UnknownCost
from tests.unit.routers.world import CATEGORIES, UNCLEAR, about, card, composition, request, routed

CALLING = Rule("calls", keywords=("call",), expert="small")
SUING = Rule("suits", keywords=("sue",), category="law")


def saying(text: str) -> tuple[Turn, ...]:
    return (Turn("user", text),)


def test_a_plain_request_is_matched_to_the_best_expert_of_its_category() -> None:
    decision = routed(about("coding"))
    assert (decision.expert, decision.category) == ("coder", "coding")
    assert decision.reason is Reason.MATCHED
    assert decision.classification is Classification.CLASSIFIED
    assert decision.probability is not None and decision.probability > 0.99
    assert decision.ood_score == 0
    assert "coding" in decision.detail


def test_equal_values_go_to_the_smaller_expert() -> None:
    assert routed(pinned_category="smalltalk").expert == "small"


def test_the_runners_up_are_the_next_likeliest_categories() -> None:
    decision = routed(about("law"))
    assert {each.category for each in decision.runners_up} == {"coding", "smalltalk"}


def test_an_unclear_request_goes_to_the_generalist() -> None:
    decision = routed(UNCLEAR, policy=Policy(generalist="coder"))
    assert decision.expert == "coder"
    assert decision.reason is Reason.UNCERTAIN
    assert decision.classification is Classification.UNCLASSIFIED
    assert decision.category is not None
    assert "not clear" in decision.detail


def test_a_sure_request_unlike_all_that_was_seen_goes_to_the_generalist() -> None:
    policy = Policy(generalist="large", ood_threshold=0.3)
    assert routed(about("coding", novelty=0.2), policy=policy).reason is Reason.MATCHED
    far = routed(about("coding", novelty=0.4), policy=policy)
    assert far.probability is not None and far.probability > 0.9
    assert far.reason is Reason.UNCERTAIN
    assert far.ood_score == pytest.approx(0.4, abs=0.01)
    assert "unlike" in far.detail


def test_a_pinned_expert_answers_and_nothing_is_classified() -> None:
    decision = routed(pinned_expert="small")
    assert (decision.expert, decision.reason) == ("small", Reason.PINNED)
    assert decision.classification is Classification.SKIPPED
    assert (decision.category, decision.probability, decision.ood_score) == (None, None, None)


def test_a_pinned_category_is_mapped_to_its_expert() -> None:
    decision = routed(pinned_category="law")
    assert (decision.expert, decision.category, decision.reason) == ("large", "law", Reason.PINNED)
    assert decision.classification is Classification.SKIPPED
    assert decision.probability is None


def test_a_pinned_category_whose_best_expert_cannot_answer_says_so() -> None:
    decision = routed(pinned_category="law", prompt_tokens=3_000, exclude=frozenset({"large"}))
    assert decision.expert == "coder"
    longer = replace(composition().experts[2], context_length=100)
    cards = (*composition().experts[:2], longer)
    decision = routed(None, composition(cards), pinned_category="law", prompt_tokens=3_000)
    assert (decision.expert, decision.reason) == ("coder", Reason.FILTERED)
    assert "large would be best for it, but the request has 3,000 tokens" in decision.detail


def test_a_rule_names_an_expert() -> None:
    policy = Policy(generalist="large", rules=(CALLING,))
    decision = routed(about("law"), policy=policy, turns=saying("Call me"))
    assert (decision.expert, decision.reason) == ("small", Reason.RULE)
    assert "'calls'" in decision.detail


def test_a_rule_names_a_category() -> None:
    policy = Policy(generalist="large", rules=(CALLING, SUING))
    decision = routed(about("coding"), policy=policy, turns=saying("Can I sue?"))
    assert (decision.expert, decision.category, decision.reason) == ("large", "law", Reason.RULE)
    assert decision.classification is Classification.SKIPPED


def test_the_first_rule_that_matches_holds() -> None:
    policy = Policy(generalist="large", rules=(SUING, CALLING))
    assert routed(None, policy=policy, turns=saying("call or sue?")).category == "law"


def test_a_clients_pin_goes_before_an_operators_rule() -> None:
    policy = Policy(generalist="large", rules=(CALLING,))
    decision = routed(policy=policy, turns=saying("call"), pinned_expert="coder")
    assert (decision.expert, decision.reason) == ("coder", Reason.PINNED)


def test_a_request_too_long_for_its_expert_is_filtered_to_the_next() -> None:
    decision = routed(about("coding"), prompt_tokens=3_500, output_tokens=1_000)
    assert (decision.expert, decision.reason) == ("large", Reason.FILTERED)
    assert "coder would be best" in decision.detail
    ruled_out = {choice.expert: choice.excluded for choice in decision.ranking}
    assert "3,500 tokens (counted) and needs 1000 for an answer" in (ruled_out["coder"] or "")


def test_each_expert_is_held_to_its_own_count_and_tried_where_bounds_leave_it_open() -> None:
    counts = {
        "small": TokenCount(1_500, 1_000, 9_000, "bounded"),
        "coder": TokenCount.counted(4_001),
        "large": TokenCount(9_000, 8_001, 12_000, "bounded"),
    }
    decision = routed(about("coding"), prompt_counts=counts)
    assert (decision.expert, decision.reason) == ("small", Reason.FILTERED)
    assert "4,001 tokens (counted)" in decision.detail
    ruled_out = {choice.expert: choice.excluded for choice in decision.ranking}
    assert "at least 8,001 tokens (bounded)" in (ruled_out["large"] or "")
    assert ruled_out["small"] is None


def test_where_nobody_has_room_the_largest_context_is_named() -> None:
    with pytest.raises(NoExpertFits, match="largest context has 8,000") as caught:
        routed(about("coding"), prompt_tokens=8_001)
    assert caught.value.code == "context_length_exceeded"


def test_a_request_with_tools_is_filtered_to_an_expert_that_has_them() -> None:
    tools = frozenset({Capability.TOOLS})
    experts = (card("plain"), card("handy", capabilities=tools))
    composed = composition(experts, [(0.9, 0.1)] * 3)
    decision = routed(about("coding"), composed, needs=tools)
    assert (decision.expert, decision.reason) == ("handy", Reason.FILTERED)
    assert "lacks tools" in decision.detail


def test_what_the_client_excludes_is_its_own_choice_and_no_filter() -> None:
    decision = routed(about("coding"), exclude=frozenset({"coder"}))
    assert (decision.expert, decision.reason) == ("large", Reason.MATCHED)


def test_an_uncertain_request_that_the_generalist_cannot_take_is_filtered() -> None:
    decision = routed(UNCLEAR, policy=Policy(generalist="small"), prompt_tokens=3_000)
    assert decision.reason is Reason.FILTERED
    assert decision.expert != "small"
    assert "the generalist cannot answer" in decision.detail


def test_a_boost_lifts_an_expert_over_a_better_one() -> None:
    decision = routed(about("coding"), boost={"large": 0.2})
    assert decision.expert == "large"
    assert decision.ranking[0].utility < decision.ranking[1].utility


def takes(tokens_in: float, *tokens_out: float) -> ExpectedTokens:
    """The same tokens in every category; an answer's by expert."""
    written = np.tile(np.asarray(tokens_out, dtype=np.float32), (3, 1))
    shares = np.full(3, 1 / 3, dtype=np.float32)
    return ExpectedTokens(np.full_like(written, tokens_in), written, shares)


def test_weights_take_size_cost_and_compute_from_the_value() -> None:
    cheap = card("cheap", 1, price_input=0.0, price_output=0.0)
    cards = (cheap, card("dear", 1, price_input=2, price_output=8))
    dear = composition(cards, [(0.5, 0.6)] * 3, tokens=takes(100, 50, 400))
    assert routed(about("law"), dear).expert == "dear"
    frugal = Policy(generalist="dear", cost_weight=30)
    decision = routed(about("law"), dear, frugal)
    assert decision.expert == "cheap"
    paid = (100 * 2 + 400 * 8) / 1e6
    assert decision.ranking[1].cost == pytest.approx(paid)
    assert decision.ranking[1].value == pytest.approx(0.6 - 30 * paid)
    assert (decision.expected_cost, decision.alternative) == (0.0, "dear")
    assert decision.alternative_cost == pytest.approx(paid)
    quick = Policy(generalist="dear", compute_weight=0.5)
    decision = routed(about("law"), dear, quick)
    assert decision.expert == "cheap"
    assert decision.ranking[1].value == pytest.approx(0.6 - 0.5 * 500 / 1000)
    assert (decision.expected_compute, decision.alternative_compute) == pytest.approx((150, 500))
    small = Policy(generalist="large", active_weight=0.012)
    assert routed(about("law"), policy=small).expert == "coder"


def test_what_is_not_known_is_null_and_cannot_be_weighed() -> None:
    assert {each.cost for each in routed(about("law")).ranking} == {None}
    cards = (card("free", 1, price_input=0.0, price_output=0.0), card("unpriced", 1))
    found = composition(cards, [(0.5, 0.6)] * 3, tokens=takes(100, 50, 400))
    decision = routed(about("law"), found)
    assert decision.expected_cost is None
    assert decision.expected_compute == pytest.approx(500)
    with pytest.raises(UnknownCost, match="no price is known of unpriced"):
        routed(about("law"), found, Policy(generalist="free", cost_weight=1))
    with pytest.raises(UnknownCost, match=r"tokens_in\.parquet"):
        routed(about("law"), policy=Policy(generalist="large", compute_weight=1))


def test_the_requests_own_prompt_stands_for_its_categorys_mean() -> None:
    cards = (card("plain", 2), card("arm", 2, base="plain"))
    tokens = ExpectedTokens(
        np.asarray([[100, 140]] * 3, dtype=np.float32),
        np.asarray([[50, 20]] * 3, dtype=np.float32),
        np.full(3, 1 / 3, dtype=np.float32),
    )
    found = composition(cards, [(0.5, 0.6)] * 3, tokens=tokens)
    decision = routed(about("law"), found, prompt_tokens=1_000)
    by_name = {each.expert: each for each in decision.ranking}
    assert by_name["plain"].compute == pytest.approx(2 * (1_000 + 50))
    assert by_name["arm"].compute == pytest.approx(2 * (1_000 + 40 + 20))


def test_the_operator_names_what_costs_are_compared_with() -> None:
    policy = Policy(generalist="large", alternative="small")
    assert routed(about("law"), policy=policy).alternative == "small"


def test_a_conversation_stays_while_leaving_gains_too_little() -> None:
    policy = Policy(generalist="large", switch_cost=0.05)
    staying = routed(about("coding"), policy=policy, current_expert="large", prompt_tokens=3_000)
    assert (staying.expert, staying.reason) == ("large", Reason.STICKY)  # 0.1 gained, 0.15 lost
    leaving = routed(about("coding"), policy=policy, current_expert="large", prompt_tokens=1_000)
    assert (leaving.expert, leaving.reason) == ("coder", Reason.MATCHED)  # 0.1 gained, 0.05 lost


def test_only_what_the_expert_has_read_is_lost_by_leaving() -> None:
    policy = Policy(generalist="large", switch_cost=0.05)
    facts: dict[str, Any] = {"policy": policy, "current_expert": "large", "prompt_tokens": 3_000}
    assert routed(about("coding"), **facts, prefix_share=1.0).expert == "large"
    assert routed(about("coding"), **facts, prefix_share=0.5).expert == "coder"  # 0.1 gained, 0.075 lost
    assert routed(about("coding"), **facts, prefix_share=0.0).reason is Reason.MATCHED


@pytest.mark.parametrize("features", [about("coding"), about("law"), UNCLEAR])
def test_an_open_tool_call_goes_on_with_its_expert_whatever_speaks_against_it(features: Vector) -> None:
    rule = Rule(name="law", keywords=("hello",), expert="large")
    policy = Policy(generalist="large", strategy="panel", rules=(rule,))
    for facts in ({}, {"strategy": "cascade"}, {"pinned_category": "law"}, {"boost": {"large": 9.0}}):
        decision = routed(features, policy=policy, current_expert="small", hold="tool_call", **facts)
        assert (decision.expert, decision.reason, decision.strategy) == ("small", Reason.HELD, "single")


def test_an_open_tool_call_yields_to_the_clients_own_pin() -> None:
    decision = routed(about("law"), current_expert="small", hold="tool_call", pinned_expert="coder")
    assert (decision.expert, decision.reason) == ("coder", Reason.PINNED)


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"prompt_tokens": 3_000}, "context_length_exceeded"),
        ({"needs": frozenset({Capability.VISION})}, "capability_unavailable"),
        ({"exclude": frozenset({"small"})}, "no_expert_left"),
    ],
)
def test_an_open_tool_call_whose_expert_cannot_go_on_is_an_error(facts: dict[str, Any], code: str) -> None:
    with pytest.raises(NoExpertFits, match="tool call of small is open") as caught:
        routed(about("law"), current_expert="small", hold="tool_call", **facts)
    assert caught.value.code == code


def test_an_open_tool_call_is_not_passed_on_when_its_expert_is_down() -> None:
    held = routed(about("law"), current_expert="small", hold="tool_call")
    with pytest.raises(NoExpertFits) as caught:
        fall_back(held, {"small"}, "connection refused")
    assert caught.value.code == "expert_unavailable"


def test_the_open_tool_call_of_an_expert_that_left_the_composition_is_nobodys() -> None:
    decision = routed(about("law"), current_expert="retired", hold="tool_call")
    assert (decision.expert, decision.reason) == ("large", Reason.MATCHED)


def test_provider_state_stays_with_its_expert_until_the_subject_changes() -> None:
    facts: dict[str, Any] = {"current_expert": "small", "prefix_share": 0.0, "hold": "provider_state"}
    kept = routed(about("coding"), **facts, current_category="coding")
    assert (kept.expert, kept.reason) == ("small", Reason.STICKY)
    freed = routed(about("coding"), **facts, current_category="law")
    assert (freed.expert, freed.reason) == ("coder", Reason.MATCHED)


def test_an_unclear_turn_of_a_conversation_stays_with_its_expert() -> None:
    decision = routed(UNCLEAR, current_expert="small")
    assert (decision.expert, decision.reason) == ("small", Reason.STICKY)


def test_a_conversation_leaves_an_expert_that_can_no_longer_answer() -> None:
    decision = routed(about("coding"), current_expert="small", prompt_tokens=3_000)
    assert (decision.expert, decision.reason) == ("coder", Reason.MATCHED)
    assert routed(UNCLEAR, current_expert="small", prompt_tokens=3_000).reason is Reason.UNCERTAIN


def test_a_conversation_whose_expert_left_the_composition_goes_on() -> None:
    assert routed(about("coding"), current_expert="retired").reason is Reason.MATCHED


def test_the_strategy_is_the_requests_or_the_policys() -> None:
    assert routed(about("law")).strategy == "single"
    assert routed(about("law"), policy=Policy(generalist="large", strategy="chain")).strategy == "chain"
    assert routed(about("law"), strategy="panel").strategy == "panel"


@pytest.mark.parametrize(
    "named", [{"pinned_expert": "nobody"}, {"pinned_category": "nothing"}, {"exclude": frozenset({"nobody"})}]
)
def test_a_name_that_the_composition_does_not_have_is_an_error(named: dict[str, Any]) -> None:
    with pytest.raises(UnknownName, match="the composition has no") as caught:
        routed(about("law"), **named)
    assert caught.value.code == "model_not_found"


def test_a_request_too_long_for_everybody_is_an_error_with_its_code() -> None:
    with pytest.raises(NoExpertFits, match="too long") as caught:
        routed(about("law"), prompt_tokens=9_000)
    assert caught.value.code == "context_length_exceeded"


def test_a_need_that_nobody_meets_is_an_error_with_its_code() -> None:
    with pytest.raises(NoExpertFits, match="lacks vision") as caught:
        routed(about("law"), needs=frozenset({Capability.VISION}))
    assert caught.value.code == "capability_unavailable"


def test_when_the_one_that_could_is_too_small_the_length_is_to_blame() -> None:
    vision = frozenset({Capability.VISION})
    experts = (card("blind"), card("seeing", capabilities=vision, context_length=100))
    with pytest.raises(NoExpertFits) as caught:
        routed(about("law"), composition(experts, [(0.5, 0.5)] * 3), needs=vision, prompt_tokens=200)
    assert caught.value.code == "context_length_exceeded"


def test_excluding_everybody_is_an_error_with_its_code() -> None:
    with pytest.raises(NoExpertFits, match="every expert is excluded") as caught:
        routed(about("law"), exclude=frozenset({"small", "coder", "large"}))
    assert caught.value.code == "no_expert_left"


def test_a_pin_that_cannot_answer_is_refused_and_not_replaced() -> None:
    with pytest.raises(NoExpertFits, match="small: the request has") as caught:
        routed(pinned_expert="small", prompt_tokens=3_000)
    assert caught.value.code == "context_length_exceeded"


def test_classifying_without_features_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="needs its features"):
        routed(None)


def test_no_words_of_the_prompt_are_in_a_decision() -> None:
    policy = Policy(generalist="large", rules=(Rule("r", pattern=re.compile("hunter2"), expert="small"),))
    decision = routed(about("law"), policy=policy, turns=saying("my password is hunter2"))
    assert "hunter2" not in repr(decision)


NAMES = ("small", "coder", "large")
finite = st.floats(-1, 1, width=32)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Any request that may be classified or pinned."""
    features = about(draw(st.sampled_from(CATEGORIES)), draw(st.floats(0, 1)))
    pinned = draw(st.sampled_from([None, None, "expert", "category"]))
    return request(
        UNCLEAR if draw(st.booleans()) else features,
        id=draw(st.text("abc", min_size=1, max_size=3)),
        prompt_tokens=draw(st.integers(0, 10_000)),
        output_tokens=draw(st.integers(0, 500)),
        exclude=frozenset(draw(st.sets(st.sampled_from(NAMES), max_size=2))),
        boost=draw(st.dictionaries(st.sampled_from(NAMES), finite)),
        current_expert=draw(st.sampled_from([None, *NAMES])),
        pinned_expert=draw(st.sampled_from(NAMES)) if pinned == "expert" else None,
        pinned_category=draw(st.sampled_from(CATEGORIES)) if pinned == "category" else None,
    )


policies = st.builds(
    Policy,
    generalist=st.sampled_from(NAMES),
    threshold=st.floats(0, 1),
    ood_threshold=st.floats(0, 1),
    active_weight=st.floats(0, 0.02),
    switch_cost=st.floats(0, 0.2),
)


def outcome(asked: Request, policy: Policy) -> Decision | str:
    """The decision, or the code of the refusal."""
    try:
        return decide(asked, composition(), policy)
    except NoExpertFits as refusal:
        return refusal.code


@given(requests(), policies)
def test_decisions_are_deterministic(asked: Request, policy: Policy) -> None:
    assert outcome(asked, policy) == outcome(asked, policy)


@given(st.lists(requests(), max_size=6), policies)
def test_other_requests_and_their_order_make_no_difference(asked: list[Request], policy: Policy) -> None:
    forwards = [outcome(each, policy) for each in asked]
    backwards = [outcome(each, policy) for each in reversed(asked)]
    assert forwards == backwards[::-1]


@given(requests(), policies)
def test_every_decision_keeps_its_promises(asked: Request, policy: Policy) -> None:
    decision = outcome(asked, policy)
    assume(isinstance(decision, Decision))
    assert isinstance(decision, Decision)
    chosen = next(choice for choice in decision.ranking if choice.expert == decision.expert)
    assert chosen.excluded is None
    assert decision.expert not in asked.exclude
    assert sorted(choice.expert for choice in decision.ranking) == sorted(NAMES)
    keys = [(choice.excluded is not None, -choice.value) for choice in decision.ranking]
    assert keys == sorted(keys)
    if decision.classification is not Classification.SKIPPED:
        assert decision.probability is not None
        shares = [each.probability for each in decision.runners_up]
        assert decision.probability + sum(shares) == pytest.approx(1, abs=1e-5)  # three categories
        assert [decision.probability, *shares] == sorted([decision.probability, *shares], reverse=True)


@given(requests(), policies, st.floats(0, 1))
def test_who_stays_at_some_switch_cost_stays_at_any_higher_one(
    asked: Request, policy: Policy, more: float
) -> None:
    before = outcome(asked, policy)
    after = outcome(asked, replace(policy, switch_cost=policy.switch_cost + more))
    if isinstance(before, Decision) and before.reason is Reason.STICKY:
        assert after == replace(before, detail=after.detail if isinstance(after, Decision) else "")
