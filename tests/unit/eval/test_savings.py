"""What routing saved: caches and shadows counted, unknown prices and tokens left out by name."""

from datetime import UTC, datetime
from typing import Any

import pytest

from client import ExpertInfo, PriceInfo, RankedExpert, ShadowRecord
from eval.savings import savings
from eval.traffic import Logged

SMALL = ExpertInfo(
    name="small", params_b=1.0, active_params_b=1.0, price=PriceInfo(input=1.0, cached_input=0.1, output=2.0)
)
LARGE = ExpertInfo(
    name="large",
    params_b=10.0,
    active_params_b=10.0,
    price=PriceInfo(input=10.0, cached_input=1.0, output=20.0),
)
UNPRICED = ExpertInfo(name="unpriced", params_b=2.0, active_params_b=2.0)


def answered(number: int, expert: ExpertInfo, **facts: Any) -> Logged:
    """1,000 prompt tokens and 100 of answer; the large expert is expected to write 300."""
    ranking = tuple(
        RankedExpert(expert=name, utility=0.5, tokens_in=1000, tokens_out=out)
        for name, out in (("small", 100), ("large", 300), ("unpriced", 100))
    )
    paid = None
    if expert.price.input is not None and expert.price.output is not None:
        paid = (1000 * expert.price.input + 100 * expert.price.output) / 1e6
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 0}}
    defaults: dict[str, Any] = {
        "id": f"dec_{number}",
        "classification": "classified",
        "expert": expert.name,
        "strategy": "single",
        "status": "ok",
        "ranking": ranking,
        "usage": usage,
        "cost": paid,
        "compute": 1100 * (expert.active_params_b or 0.0),
        "repeated_share": 0.0,
        "created_at": datetime(2026, 1, 1, number % 24, tzinfo=UTC),
    }
    return Logged(**(defaults | facts))


EXPERTS = (SMALL, LARGE, UNPRICED)


def test_what_is_saved_is_the_alternative_less_what_was_paid() -> None:
    found = savings([answered(1, SMALL), answered(2, LARGE)], EXPERTS, "large")
    assert found.dollars is not None
    assert found.compute is not None
    alternative = (1000 * 10 + 300 * 20) / 1e6
    own = (1000 * 10 + 100 * 20) / 1e6
    assert found.dollars.actual == pytest.approx(0.0012 + own)
    assert found.dollars.alternative == pytest.approx(alternative + own)
    assert found.dollars.saved == pytest.approx(alternative - 0.0012)
    assert (found.compute.actual, found.compute.alternative) == (1100 + 11000, 13000 + 11000)
    assert found.document()["dollars"]["share"] == pytest.approx(found.dollars.share)


def test_the_alternative_keeps_the_conversations_prefix_and_the_loss_is_shown() -> None:
    found = savings([answered(1, SMALL, repeated_share=0.8)], EXPERTS, "large")
    assert found.dollars is not None
    assert found.dollars.alternative == pytest.approx((200 * 10 + 800 * 1 + 300 * 20) / 1e6)
    assert found.dollars.cache_loss == pytest.approx(800 * 0.9 / 1e6)


def test_shadow_traffic_is_taken_off_what_was_saved() -> None:
    shadow = ShadowRecord(expert="large", status="ok", tokens=1300, price=0.016)
    plain = savings([answered(1, SMALL)], EXPERTS, "large").dollars
    shadowed = savings([answered(1, SMALL, shadows=(shadow,))], EXPERTS, "large")
    assert plain is not None
    assert shadowed.dollars is not None
    assert shadowed.compute is not None
    assert shadowed.dollars.saved == pytest.approx(plain.saved - 0.016)
    assert shadowed.compute.shadows == 13000


def test_an_unknown_price_is_left_out_by_name_and_never_nought() -> None:
    found = savings([answered(1, UNPRICED), answered(2, SMALL)], EXPERTS, "large")
    assert found.compared_dollars == 1
    assert found.compared_compute == 2
    assert found.left_out == {"dollars: no price is known of unpriced": 1}
    nothing = savings([answered(1, SMALL)], EXPERTS, "unpriced")
    assert nothing.dollars is None
    assert nothing.left_out == {"dollars: no price is known of unpriced": 1}


@pytest.mark.parametrize("facts", [{"status": "error"}, {"usage": None}, {"compute": None}])
def test_what_was_not_answered_or_told_no_tokens_is_left_out(facts: dict[str, Any]) -> None:
    found = savings([answered(1, SMALL, **facts)], EXPERTS, "large")
    assert (found.dollars, found.compute) == (None, None)
    assert sum(found.left_out.values()) == 1


def test_an_expert_that_is_not_there_cannot_be_the_alternative() -> None:
    with pytest.raises(KeyError):
        savings([answered(1, SMALL)], EXPERTS, "nobody")
