"""Confidence from log-probabilities."""

import math

import pytest

from experts.confidence import FLOOR, MOST_ENTROPY, Token, read_tokens, signals_of


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
