"""Token counts as servers tell them, and what they cost."""

from typing import Any

import pytest

from base.prices import token_cost, usage_cost
from base.usage import TokenUsage
from experts.expert import Price

PRICE = Price(input=2.0, output=10.0)
CACHING = Price(input=2.0, cached_input=0.2, output=10.0)


def test_all_counts_are_read() -> None:
    usage = {
        "prompt_tokens": 7,
        "completion_tokens": 5,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert TokenUsage.of(usage) == TokenUsage(prompt=7, completion=5, cached=4, reasoning=3)
    assert TokenUsage.of(usage).both == (7, 5)
    assert TokenUsage.of(usage).document() == usage


@pytest.mark.parametrize(
    "usage",
    [
        pytest.param(
            {
                "input_tokens": 7,
                "output_tokens": 5,
                "total_tokens": 12,
                "input_tokens_details": {"cached_tokens": 4},
                "output_tokens_details": {"reasoning_tokens": 3},
            },
            id="responses",
        ),
        pytest.param(
            {
                "input_tokens": 2,
                "cache_read_input_tokens": 4,
                "cache_creation_input_tokens": 1,
                "output_tokens": 5,
                "output_tokens_details": {"thinking_tokens": 3},
            },
            id="messages",
        ),
        pytest.param(
            {
                "prompt_tokens": 7,
                "prompt_cache_hit_tokens": 4,
                "prompt_cache_miss_tokens": 3,
                "completion_tokens": 5,
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            id="deepseek",
        ),
        pytest.param(
            {
                "prompt_tokens": 7.0,
                "completion_tokens": 2,
                "total_tokens": 12,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            id="reasoning beside the answer",
        ),
    ],
)
def test_every_dialect_is_read_alike(usage: Any) -> None:
    assert TokenUsage.of(usage) == TokenUsage(prompt=7, completion=5, cached=4, reasoning=3)


def test_the_document_holds_what_is_known() -> None:
    assert TokenUsage().document() is None
    assert TokenUsage(completion=5).document() == {"completion_tokens": 5}
    assert TokenUsage(0, 0).document() == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert TokenUsage(7, cached=0).by_kind == {"prompt": 7, "cached": 0}


@pytest.mark.parametrize(
    "usage",
    [
        None,
        [],
        "12",
        {},
        {"prompt_tokens": None, "completion_tokens": "5"},
        {"prompt_tokens": True, "completion_tokens": -1, "prompt_tokens_details": [4]},
        {"prompt_tokens": 10**400, "output_tokens": float("inf"), "input_tokens": "7"},
        {"completion_tokens": 1.5, "completion_tokens_details": {"reasoning_tokens": None}},
    ],
)
def test_what_is_no_count_is_unknown(usage: Any) -> None:
    assert TokenUsage.of(usage) == TokenUsage()


def test_tokens_cost_what_their_kind_costs() -> None:
    assert token_cost(PRICE, 1_000_000, 100_000) == pytest.approx(3.0)
    assert token_cost(CACHING, 1_000_000, 0, cached=500_000) == pytest.approx(1.1)
    assert usage_cost(PRICE, TokenUsage(1_000_000, 0, cached=500_000)) == pytest.approx(2.0)


@pytest.mark.parametrize("usage", [TokenUsage(), TokenUsage(prompt=1), TokenUsage(completion=1)])
def test_unknown_is_never_free(usage: TokenUsage) -> None:
    assert usage_cost(PRICE, usage) is None


@pytest.mark.parametrize("price", [Price(), Price(input=1.0), Price(output=1.0)])
def test_an_unknown_price_is_never_nought(price: Price) -> None:
    assert token_cost(price, 1_000, 1_000) is None
    assert token_cost(Price(input=0.0, output=0.0), 1_000, 1_000) == 0.0


def test_the_sum_of_several_answers_knows_what_one_of_them_told() -> None:
    told = [TokenUsage(3, 2, cached=1), TokenUsage(), TokenUsage(4, 5)]
    assert TokenUsage.sum(told) == TokenUsage(7, 7, cached=1)
    assert TokenUsage.sum([TokenUsage(), TokenUsage()]) == TokenUsage()
