"""The account that holds a request to its limits."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.strategies.limits import Account, LimitReached, RequestLimits
from experts.expert import Expert, Price


def an_expert(price: float = 0.0, context: int = 4096) -> Expert:
    return Expert(
        name="e",
        endpoint="http://127.0.0.1:1/v1",
        model="m",
        params_b=1,
        context_length=context,
        price=Price(input=price, output=price),
    )


def test_a_call_is_booked_at_its_most_and_settled_at_what_it_was() -> None:
    account = Account(RequestLimits(calls=3, tokens=1000, seconds=60))
    booking = account.book(an_expert(), 100, 400)
    assert (account.tokens, account.calls) == (500, 1)
    account.settle(booking, 90, 10)
    assert account.tokens == 100


def test_an_answer_is_cut_to_what_is_left() -> None:
    account = Account(RequestLimits(calls=3, tokens=1000, seconds=60))
    assert account.book(an_expert(), 100, None).answer_tokens == 900
    with pytest.raises(LimitReached) as error:
        account.book(an_expert(), 10, 100)
    assert error.value.kind == "tokens"


def test_a_share_bounds_prompt_and_answer_together() -> None:
    account = Account(RequestLimits(calls=3, tokens=1000, seconds=60))
    assert account.book(an_expert(), 100, None, share=300).answer_tokens == 200
    with pytest.raises(LimitReached):
        account.book(an_expert(), 100, None, share=110)


def test_calls_time_and_money_are_limits_too() -> None:
    for limits, kind in (
        (RequestLimits(calls=0, tokens=100, seconds=60), "calls"),
        (RequestLimits(calls=1, tokens=100, seconds=0), "seconds"),
        (RequestLimits(calls=1, tokens=10_000, seconds=60, cost=0.00001), "cost"),
    ):
        with pytest.raises(LimitReached) as error:
            Account(limits).book(an_expert(price=10), 10, 100)
        assert error.value.kind == kind


def test_free_experts_cost_nothing_however_tight_the_money() -> None:
    account = Account(RequestLimits(calls=1, tokens=1000, seconds=60, cost=0.0))
    assert account.book(an_expert(), 10, 100).answer_tokens == 100


def test_a_client_can_only_lower_a_limit() -> None:
    operators = RequestLimits(calls=8, tokens=1000, seconds=60, cost=None)
    assert operators.tightened(20, 2000, 600, 1.0) == RequestLimits(8, 1000, 60, 1.0)
    assert RequestLimits(8, 1000, 60, 0.5).tightened(2, 10, 1, 1.0) == RequestLimits(2, 10, 1, 0.5)


CALLS = st.lists(
    st.tuples(st.integers(0, 500), st.one_of(st.none(), st.integers(1, 500)), st.floats(0, 1)), max_size=20
)


@given(CALLS, st.integers(1, 2000), st.floats(0, 0.01), st.integers(1, 10))
def test_no_sequence_of_calls_overdraws(
    calls: list[tuple[int, int | None, float]], tokens: int, cost: float, most: int
) -> None:
    account = Account(RequestLimits(calls=most, tokens=tokens, seconds=60, cost=cost))
    for prompt, wanted, used in calls:
        try:
            booking = account.book(an_expert(price=3.0), prompt, wanted)
        except LimitReached:
            continue
        assert account.tokens <= tokens
        assert account.cost <= cost + 1e-9
        account.settle(booking, booking.prompt_tokens, int(used * booking.answer_tokens))
    assert account.tokens <= tokens
    assert account.calls <= most
    assert account.cost <= cost + 1e-9


@given(
    st.lists(st.tuples(st.integers(0, 1200), st.none() | st.integers(1, 1500), st.floats(0, 1)), max_size=8),
    st.floats(0, 0.02),
)
def test_calls_side_by_side_do_not_overdraw_however_short_their_prompts_turn_out(
    calls: list[tuple[int, int | None, float]], cost: float
) -> None:
    expert = Expert(**{**dict(an_expert(context=1000)), "price": Price(input=1, output=5)})
    account = Account(RequestLimits(calls=8, tokens=4_000, seconds=60, cost=cost))
    booked = []
    for prompt, wanted, part in calls:
        with suppress(LimitReached):
            booked.append((account.book(expert, prompt, wanted), part))
    for booking, part in booked:
        prompt = min(int(part * booking.prompt_tokens), 1000)
        left = 1000 - prompt
        account.settle(booking, prompt, min(booking.answer_tokens, left) if booking.bounded else left)
    assert account.tokens <= 4_000
    assert account.cost <= cost + 1e-9


def test_an_answer_that_only_the_context_bounds_is_paid_for_whatever_its_share_of_it() -> None:
    expert = an_expert(price=10, context=1000)
    rich = Account(RequestLimits(calls=1, tokens=10_000, seconds=60, cost=0.0119))
    booking = rich.book(expert, 150, None)
    assert (booking.answer_tokens, booking.bounded) == (850, False)
    assert rich.cost == pytest.approx((150 + 1000) * 10 / 1e6)
    rich.settle(booking, 100, 900)
    assert rich.tokens == 1000
    assert rich.cost == pytest.approx(0.01)
    poorer = Account(RequestLimits(calls=1, tokens=10_000, seconds=60, cost=0.0110))
    booking = poorer.book(expert, 150, None)
    assert (booking.answer_tokens, booking.bounded) == (850, True)
    poorer.give_back(booking)
    assert (poorer.tokens, poorer.calls) == (0, 0)
    assert poorer.cost == pytest.approx(0.0)


def test_a_prompt_that_seems_to_fill_the_context_leaves_a_short_answer() -> None:
    account = Account(RequestLimits(calls=9, tokens=100_000, seconds=60))
    assert account.book(an_expert(context=1000), 990, 300).answer_tokens == 125
    assert account.book(an_expert(context=1000), 2000, 50).answer_tokens == 50
    booking = account.book(an_expert(context=8000), 7990, None)
    assert (booking.answer_tokens, booking.bounded) == (256, False)


def test_a_call_that_needs_its_whole_answer_is_not_booked_with_less() -> None:
    account = Account(RequestLimits(calls=2, tokens=250, seconds=60))
    with pytest.raises(LimitReached):
        account.book(an_expert(), 100, 160, least=160)
    assert account.tokens == 0
    assert account.book(an_expert(), 90, 160, least=160).answer_tokens == 160
