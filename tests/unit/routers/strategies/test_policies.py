"""Policies ask, stop and answer as their rules say, whatever batch a request is in."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.cascade_model import CascadeModel
from routers.strategies import Rollout, State, StrategyPolicy, rollout
from routers.strategies.ask_order import AskOrder
from routers.strategies.cascade_policies import AgreementCascade, ConfidenceCascade
from routers.strategies.mixed_policy import MixedPolicy
from routers.strategies.one_reply import SelfSelect, SinglePolicy
from routers.strategies.panel_policies import PanelPolicy, StoppingPolicy, VotePolicy, VotingPanel
from routers.strategies.strategy_policy import Booleans, Floats, Ints, settled
from routers.strategies.vote_model import VoteModel

SIZES = np.asarray([1.0, 2.0, 3.0, 10.0])
EXPERTS, CATEGORIES = 4, 2


@dataclass(frozen=True)
class Codes:
    """Recorded answers as codes, (prompts, experts)."""

    answers: Ints
    signals: Mapping[str, Floats] = field(default_factory=dict)

    def reveal(self, state: State, rows: Ints, ask: Ints) -> tuple[Ints, Booleans, Mapping[str, Floats]]:
        """-1: a reply without an answer; -2: a call that failed."""
        at = rows[:, None], np.maximum(ask, 0)
        answers = self.answers[at]
        signals = {name: values[at] for name, values in self.signals.items()}
        return np.maximum(answers, -1), answers > -2, signals


def begin(rows: int, expected: list[float] | None = None, seed: int = 0) -> State:
    random = np.random.default_rng(seed)
    posterior = random.dirichlet([0.5] * CATEGORIES, rows)
    scores = random.random((rows, EXPERTS)) if expected is None else np.tile(expected, (rows, 1))
    return State.begin(posterior, scores)


def model(weight: float = 1.0) -> VoteModel:
    return VoteModel(
        np.full(EXPERTS, weight), np.zeros((CATEGORIES, EXPERTS)), 0.2, 0.5, np.zeros(CATEGORIES)
    )


def panel(first: int | None = None, joining: tuple[int, ...] = (0, 1, 2, 3), most: int = 4) -> VotingPanel:
    return VotingPanel(AskOrder(first, joining, SIZES, most), tuple(model() for _ in range(most)))


def policies() -> list[StrategyPolicy]:
    rules = np.zeros((3, 7 + CATEGORIES))
    rules[:, 0], rules[:, 1] = 0.5, -1.0
    stopping = StoppingPolicy(panel(), rules, 0.001)
    cascade = AgreementCascade((0, 1, 2))
    return [
        SinglePolicy(SIZES, weight=0.05),
        VotePolicy(AskOrder(None, (2, 1, 0), SIZES, 4), 3),
        VotePolicy(AskOrder(1, (2, 3, 0), SIZES, 4), 3, model()),
        PanelPolicy(panel(), 0.7),
        PanelPolicy(panel(first=2), 0.8, "any"),
        stopping,
        cascade,
        ConfidenceCascade(0, 3, CascadeModel(weak="a", strong="b", threshold=0.6)),
        SelfSelect(2),
        MixedPolicy((stopping, cascade)),
    ]


def run(policy: StrategyPolicy, answers: Ints, state: State | None = None) -> Rollout:
    random = np.random.default_rng(1)
    mean = -random.random(answers.shape)
    return rollout(policy, state or begin(len(answers)), Codes(answers, {"mean": mean}))


def drawn(rows: int = 60, seed: int = 3) -> Ints:
    return np.random.default_rng(seed).integers(-1, 3, (rows, EXPERTS))


@pytest.mark.parametrize("policy", policies(), ids=lambda each: each.kind)
def test_a_request_is_answered_alike_alone_and_among_others(policy: StrategyPolicy) -> None:
    answers = drawn()
    whole = run(policy, answers)
    mean = -np.random.default_rng(1).random(answers.shape)

    for row in range(0, len(answers), 7):
        only = np.asarray([row])
        alone = rollout(policy, begin(len(answers)).take(only), Codes(answers[only], {"mean": mean[only]}))
        assert alone.answer[0] == whole.answer[row]
        assert alone.order[0].tolist() == [each for each in whole.order[row].tolist() if each >= 0]


@pytest.mark.parametrize("policy", policies(), ids=lambda each: each.kind)
def test_the_names_of_answers_do_not_matter(policy: StrategyPolicy) -> None:
    answers = drawn()
    renamed = np.where(answers >= 0, 7 - answers, -1)

    assert (run(policy, answers).answer == run(policy, renamed).answer).all()


@pytest.mark.parametrize("policy", policies(), ids=lambda each: each.kind)
def test_the_answer_is_the_reply_of_an_expert_that_was_asked_once(policy: StrategyPolicy) -> None:
    found = run(policy, drawn())

    assert found.asked[np.arange(len(found.answer)), found.answer].all()
    assert (found.calls == found.asked.sum(axis=1)).all()


@pytest.mark.parametrize("policy", policies(), ids=lambda each: each.kind)
def test_an_expert_that_is_not_available_is_never_asked(policy: StrategyPolicy) -> None:
    state = begin(60)
    available = np.ones((60, EXPERTS), dtype=bool)
    available[:30, 0], available[30:, 2] = False, False

    found = run(policy, drawn(), State.begin(state.posterior, state.expected, available))

    assert not (found.asked & ~available).any()
    assert (found.answer >= 0).all()


@pytest.mark.parametrize("policy", policies(), ids=lambda each: each.kind)
def test_where_everybody_fails_there_is_no_answer_and_an_end(policy: StrategyPolicy) -> None:
    state = begin(1)
    for _ in range(EXPERTS + 1):
        action = policy.act(state)
        if action.done[0]:
            break
        nothing = np.full(action.ask.shape, -1)
        state = state.after(action.ask, nothing, np.zeros(action.ask.shape, dtype=bool))

    assert action.done[0] and action.answer[0] == -1
    assert state.calls


@pytest.mark.parametrize("policy", policies(), ids=lambda each: each.kind)
def test_one_failure_does_not_stop_the_others(policy: StrategyPolicy) -> None:
    state = begin(1)
    failed = None
    for _ in range(EXPERTS + 1):
        action = policy.act(state)
        if action.done[0]:
            break
        replied = np.ones(action.ask.shape, dtype=bool)
        if failed is None:
            failed, replied[0, 0] = int(action.ask[0, 0]), False
        state = state.after(action.ask, np.zeros(action.ask.shape, dtype=np.int64), replied)

    assert action.answer[0] not in {-1, failed}


def test_a_vote_without_a_model_is_a_majority_and_the_earlier_answer_wins_ties() -> None:
    vote = VotePolicy(AskOrder(0, (1, 2, 3), SIZES, 4), 4)

    found = run(vote, np.asarray([[0, 1, 1, 2], [0, 1, 1, 0], [-1, 2, -1, -1], [-1, -1, -1, -1]]))

    assert found.answer[:3].tolist() == [1, 0, 1]
    assert (found.calls == 4).all()


def test_what_two_agree_on_is_accepted_and_the_strong_one_is_spared() -> None:
    cascade = AgreementCascade((0, 1, 2))

    found = run(cascade, np.asarray([[0, 0, 1, 0], [0, 1, 1, 0], [0, 1, 2, 0], [0, 1, -1, 0]]))

    assert found.answer.tolist() == [0, 1, 2, 0]
    assert found.calls.tolist() == [2, 3, 3, 3]


def test_an_empty_answer_agrees_with_nothing() -> None:
    found = run(AgreementCascade((0, 1, 2)), np.asarray([[-1, -1, 0, 0], [-1, 1, -1, 0]]))

    assert found.answer.tolist() == [2, 1]
    assert (found.calls == 3).all()


def test_a_higher_level_asks_more_experts() -> None:
    answers = drawn(200)
    calls = [run(PanelPolicy(panel(), p), answers).calls.mean() for p in (0.3, 0.6, 0.9, 1.0)]

    assert calls == sorted(calls)
    assert calls[0] < calls[-1] == EXPERTS


def test_a_panel_reports_the_probability_that_it_stopped_at() -> None:
    found = run(PanelPolicy(panel(), 0.7), drawn(200))

    early = found.calls < EXPERTS
    assert early.any() and (found.probability[early] >= 0.7).all()


def test_who_is_surest_of_itself_answers_and_bias_counts() -> None:
    answers = np.zeros((1, EXPERTS), dtype=np.int64)
    mean = np.asarray([[-0.5, -0.2, -0.9, np.nan]])
    state = begin(1, [0.5, 0.5, 0.5, 0.5])

    plain = rollout(SelfSelect(candidates=(0, 1, 2, 3)), state, Codes(answers, {"mean": mean}))
    biased = rollout(
        SelfSelect(candidates=(0, 1, 2, 3), bias={2: 1.0}), state, Codes(answers, {"mean": mean})
    )

    assert (plain.answer[0], biased.answer[0]) == (1, 2)


def test_a_weak_answer_is_accepted_by_its_confidence() -> None:
    answers = np.zeros((3, EXPERTS), dtype=np.int64)
    mean = np.log([[0.9, 1, 1, 1], [0.4, 1, 1, 1], [np.nan, 1, 1, 1]])
    cascade = ConfidenceCascade(0, 3, CascadeModel(weak="a", strong="b", threshold=0.6))

    found = rollout(cascade, begin(3), Codes(answers, {"mean": mean}))

    assert found.answer.tolist() == [0, 3, 3]
    assert found.calls.tolist() == [1, 2, 2]


def test_a_mix_does_in_each_category_what_its_policy_does() -> None:
    first, second = AgreementCascade((0, 1, 2)), SinglePolicy(SIZES)
    answers, state = drawn(), begin(60)

    found = run(MixedPolicy((first, second)), answers, state)

    likely = state.posterior.argmax(axis=1)
    assert (
        found.answer == np.where(likely == 0, run(first, answers).answer, run(second, answers).answer)
    ).all()


@given(st.integers(0, 1000), st.floats(1.0, 16.0))
def test_no_request_takes_more_than_the_limit(seed: int, limit: float) -> None:
    order = AskOrder(None, (3, 2, 1, 0), SIZES, 4, limit=limit)

    found = rollout(VotePolicy(order, 4), begin(20, seed=seed), Codes(drawn(20, seed)))

    assert (found.asked @ SIZES).max() <= limit * 1.000001


@pytest.mark.parametrize("policy", policies(), ids=lambda each: each.kind)
def test_a_reply_that_settles_it_is_the_answer_whatever_it_says(policy: StrategyPolicy) -> None:
    answers = drawn(40)
    for row in range(len(answers)):
        state = begin(40).take(np.asarray([row]))
        while not (action := policy.act(state)).done[0]:
            certain = settled(policy, state, action.ask)
            asked = np.maximum(action.ask, 0)
            state = state.after(action.ask, answers[row][asked], None, {"mean": np.full(asked.shape, -0.1)})
            after = policy.act(state)
            if certain:
                assert after.done[0] and after.answer[0] == action.ask.max()


def test_a_single_experts_reply_and_the_last_of_a_cascade_are_settled() -> None:
    cascade = ConfidenceCascade(0, 3, CascadeModel(weak="a", strong="b", threshold=0.6))
    first = begin(1)
    second = first.after(np.asarray([[0]]), np.asarray([[0]]), None, {"mean": np.asarray([[-3.0]])})

    assert settled(SinglePolicy(SIZES), first, np.asarray([[2]]))
    assert not settled(cascade, first, np.asarray([[0]]))
    assert settled(cascade, second, np.asarray([[3]]))


def test_a_recorded_failure_is_no_reply_and_the_next_expert_answers() -> None:
    failed = np.asarray([[-2, 0, 0, 0], [-1, 0, 0, 0]])
    state = begin(2, [0.9, 0.8, 0.1, 0.1])

    found = rollout(SinglePolicy(np.zeros(EXPERTS)), state, Codes(failed))

    assert found.answer.tolist() == [1, 0]
    assert found.calls.tolist() == [2, 1]
