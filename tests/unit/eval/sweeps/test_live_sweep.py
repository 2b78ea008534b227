"""Weights of a live sweep, as boosts that a request may send."""

import pytest

from client import ExpertInfo, PriceInfo
from eval.sweeps.grid import LivePoint
from eval.sweeps.live_sweep import weight_boost
from eval.sweeps.sweep_file import LiveComposition, PromptConfig, SweepError

SERVED = {"active_weight": 0.3, "cost_weight": 0.0}


def point(active_weight: float | None) -> LivePoint:
    return LivePoint(
        "p",
        LiveComposition(name="served"),
        None,
        active_weight,
        None,
        PromptConfig(name="none"),
    )


def expert(size: float | None, price: float = 0.0) -> ExpertInfo:
    return ExpertInfo(
        name="e", active_params_b=size, params_b=size, price=PriceInfo(input=price, output=price)
    )


def test_a_weight_stands_in_place_of_the_served_one() -> None:
    assert weight_boost(expert(2.0), point(0.3), SERVED) == 0
    assert weight_boost(expert(2.0), point(0.0), SERVED) == pytest.approx(0.6)
    assert weight_boost(expert(2.0), point(0.5), SERVED) == pytest.approx(-0.4)
    assert weight_boost(expert(2.0), point(0.5), {}) == pytest.approx(-1.0)


def test_no_weight_leaves_the_served_policy_as_it_is() -> None:
    assert weight_boost(expert(2.0), point(None), SERVED) == 0
    assert weight_boost(expert(None), point(None), SERVED) == 0


def test_an_expert_of_unknown_size_cannot_be_weighed_otherwise() -> None:
    with pytest.raises(SweepError, match="how large e is"):
        weight_boost(expert(None), point(0.0), SERVED)


def test_more_than_a_request_may_ask_is_refused() -> None:
    with pytest.raises(SweepError, match="closer to the served"):
        weight_boost(expert(70.0), point(1.0), SERVED)
