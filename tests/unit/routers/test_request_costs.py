"""Expected tokens by category and expert, and what they cost."""

import numpy as np
import pytest

from routers.policy import Policy
from routers.request_costs import ExpectedTokens, UnknownCost, cell_costs, costs
from routers.token_estimates import estimate_tokens
from tests.unit.routers.world import card

CARDS = (
    card("small", 1.0, price_input=1.0, price_output=2.0),
    card("large", 10.0, price_input=5.0, price_output=20.0),
)


def counted(seed: int = 0, rows: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-normal counts: the second category's answers are four times as long, the second expert's twice."""
    random = np.random.default_rng(seed)
    labels = np.arange(rows) % 2
    means = 50.0 * np.asarray([[1, 2], [4, 8]])[labels]
    noise = random.lognormal(-0.125, 0.5, size=(rows, 2))
    return np.full((rows, 2), 30.0, np.float32), (means * noise).astype(np.float32), labels.astype(np.int64)


def test_expected_tokens_are_near_the_means_of_each_cell() -> None:
    tokens_in, tokens_out, labels = counted()
    found = estimate_tokens(tokens_in, tokens_out, labels, 2)
    assert found is not None
    assert found.tokens_in == pytest.approx(30.0, rel=0.02)
    assert found.tokens_out == pytest.approx(np.asarray([[50, 100], [200, 400]]), rel=0.15)
    assert found.shares.tolist() == [0.5, 0.5]


def test_a_cell_that_nobody_counted_takes_its_experts_and_its_categorys_factor() -> None:
    tokens_in, tokens_out, labels = counted()
    tokens_out[labels == 1, 1] = np.nan
    found = estimate_tokens(tokens_in, tokens_out, labels, 2)
    assert found is not None
    assert 200 < found.tokens_out[1, 1] < 800


def test_an_expert_without_any_count_stays_unknown_and_is_named() -> None:
    tokens_in, tokens_out, labels = counted()
    tokens_in[:, 1] = tokens_out[:, 1] = np.nan
    found = estimate_tokens(tokens_in, tokens_out, labels, 2)
    assert found is not None
    assert np.isnan(found.tokens_out[:, 1]).all()
    with pytest.raises(UnknownCost, match="the tokens that large takes"):
        costs(CARDS, Policy("small", compute_weight=1.0), found)


def test_a_category_that_nobody_counted_takes_the_mean_of_each_expert() -> None:
    tokens_in, tokens_out, labels = counted()
    tokens_in[labels == 1] = tokens_out[labels == 1] = np.nan
    found = estimate_tokens(tokens_in, tokens_out, labels, 2)
    assert found is not None
    assert found.tokens_out[1] == pytest.approx(found.tokens_out[0], rel=0.05)


def test_prices_of_some_experts_only_are_refused_by_the_name_of_the_others() -> None:
    tokens = estimate_tokens(*counted(), 2)
    unpriced = (CARDS[0], card("large", 10.0, price_input=5.0))
    with pytest.raises(UnknownCost, match="no price is known of large"):
        costs(unpriced, Policy("small", cost_weight=1.0), tokens)
    assert costs(unpriced, Policy("small", compute_weight=1.0), tokens)[0, 1] > 0


def test_no_table_of_tokens_is_no_estimate() -> None:
    assert estimate_tokens(None, None, np.zeros(3, dtype=np.int64), 1) is None


def test_dollars_have_their_own_price_for_each_kind_of_token() -> None:
    one = np.ones((1, 2), dtype=np.float32)
    tokens = ExpectedTokens(one * 1000, one * 100, np.ones(1, dtype=np.float32))
    assert tokens.dollars(CARDS)[0] == pytest.approx([1.2e-3, 7e-3])
    assert tokens.compute(CARDS)[0] == pytest.approx([1_100, 11_000])
    assert costs(CARDS, Policy("small", cost_weight=10.0), tokens)[0] == pytest.approx([0.012, 0.07])
    assert costs(CARDS, Policy("small", compute_weight=2.0), tokens)[0] == pytest.approx([2.2, 22.0])


def test_a_table_s_own_counts_go_before_what_was_expected() -> None:
    one = np.ones((1, 2), dtype=np.float32)
    tokens = ExpectedTokens(one * 1000, one * 100, np.ones(1, dtype=np.float32))
    known_in = np.asarray([[10, np.nan], [np.nan, 20]], dtype=np.float32)
    found = cell_costs("compute", CARDS, tokens, np.ones((2, 1), dtype=np.float32), known_in, known_in)
    assert found == pytest.approx(np.asarray([[20, 11_000], [1_100, 400]]))
