"""Confidence from log-probabilities: its bounds, and the verdict that a cascade takes from them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.confidence import FLOOR, MOST_ENTROPY, Token, bounds_of, read_tokens, signals_of
from routers.cascade_model import CascadeModel

TOKENS = st.lists(st.builds(Token, st.floats(FLOOR, 0), st.floats(0, MOST_ENTROPY)), min_size=1, max_size=40)


def entry(logprob: float, *others: float) -> dict[str, object]:
    listed = [{"token": str(index), "logprob": value} for index, value in enumerate((logprob, *others))]
    return {"token": "t", "logprob": logprob, "top_logprobs": listed if others else []}


def test_tokens_are_read_from_openais_log_probabilities() -> None:
    tokens = read_tokens({"content": [entry(-0.1, -3.0), entry(-50.0)]})
    assert [token.logprob for token in tokens] == [-0.1, FLOOR]
    assert tokens[0].entropy is not None
    assert 0 < tokens[0].entropy < MOST_ENTROPY
    assert tokens[1].entropy is None


@pytest.mark.parametrize("logprobs", [None, {}, {"content": None}, {"content": [{}, {"logprob": "x"}]}, []])
def test_what_cannot_be_read_gives_no_tokens(logprobs: object) -> None:
    assert read_tokens(logprobs) == []
    assert signals_of(read_tokens(logprobs)).mean is None


def test_the_tail_is_the_worst_tenth() -> None:
    tokens = [Token(-0.1)] * 19 + [Token(-3.0)]
    signals = signals_of(tokens)
    assert signals.tail == pytest.approx((-3.0 - 0.1) / 2)
    assert signals.mean == pytest.approx((-0.1 * 19 - 3) / 20)
    assert signals.dispersion is None


def test_sharing_out_evenly_is_the_most_entropy() -> None:
    sixth = math.log(1 / 6)
    token = read_tokens({"content": [entry(sixth, *[sixth] * 4)]})[0]
    assert token.entropy == pytest.approx(MOST_ENTROPY)


@given(TOKENS, st.integers(1, 40), st.integers(0, 40))
def test_a_verdict_on_a_beginning_is_that_on_the_whole(tokens: list[Token], window: int, read: int) -> None:
    model = CascadeModel(
        weak="w", strong="s", weights={"mean": 2.0, "tail": 1.0, "dispersion": -0.5}, bias=1.0, window=window
    )

    def sure(signals: object) -> float:
        found = model.confidence({name: getattr(signals, name) for name in ("mean", "tail", "dispersion")})
        assert found is not None
        return found

    whole = sure(signals_of(tokens[:window]))
    worst, best = bounds_of(tokens[:read], window)
    assert sure(worst) - 1e-9 <= whole <= sure(best) + 1e-9
