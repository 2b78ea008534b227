"""Tokens by the length of answers, and mixtures of single experts that cost as much."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.compute_budgets import CHARACTERS_PER_TOKEN, with_tokens
from benchmarks.routing_quality import straight_line
from routers.outcome_table import OutcomeError, OutcomeTable
from tests.unit.routers.world import CODER, SMALL

TABLE = OutcomeTable(
    ("a", "b", "c"),
    ("coding", "coding", "law"),
    ("four", "eight ch", "12 long text"),
    (SMALL, CODER),
    np.asarray([[0, 1], [1, 1], [0, 0]], dtype=np.float32),
)
LENGTHS: dict[str, dict[str, float | None]] = {
    "small": {"a": 8.0, "b": 40.0, "c": 4.0},
    "coder": {"a": 80.0, "b": None},
}


def test_tokens_are_characters_by_a_factor_and_prompts_without_every_length_are_left_out() -> None:
    found = with_tokens(TABLE, {**LENGTHS, "further": {}})
    assert found.uids == ("a",)
    assert found.tokens_in is not None and found.tokens_out is not None
    assert found.tokens_in.tolist() == [[4 / CHARACTERS_PER_TOKEN] * 2]
    assert found.tokens_out.tolist() == [[8 / CHARACTERS_PER_TOKEN, 80 / CHARACTERS_PER_TOKEN]]


def test_an_expert_without_lengths_is_named_and_nothing_left_is_an_error() -> None:
    with pytest.raises(OutcomeError, match="coder"):
        with_tokens(TABLE, {"small": LENGTHS["small"]})
    with pytest.raises(OutcomeError, match="no prompt"):
        with_tokens(replace(TABLE, uids=("d", "e", "f")), LENGTHS)


def test_single_experts_are_mixed_along_their_hull_to_the_cost_asked_for() -> None:
    scores = np.asarray([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0]])  # the second is below the line
    costs = np.asarray([1.0, 2.0, 5.0])
    assert straight_line(scores, costs, 3.0) == pytest.approx([0.5, 1.0])
    assert straight_line(scores, costs, 9.0) == pytest.approx([1.0, 1.0])
