"""What similar prompts share is found where it was planted, and not where it was not."""

import numpy as np
import pytest

from benchmarks.remaining_signal import neighbour_pairs, remaining_signal
from routers.composition import ExpertCard
from routers.outcome_table import OutcomeTable
from routers.request import Matrix


def test_luck_alone_is_worth_nothing() -> None:
    table, embeddings = world(strength=0.0)
    found = remaining_signal(table, embeddings)
    assert found.shared_low < 0 < found.shared_high
    assert abs(found.gain) < 0.01


def test_a_planted_signal_is_found_and_priced() -> None:
    table, embeddings = world(strength=0.3)
    found = remaining_signal(table, embeddings)
    assert found.shared_low > 0.05
    # Two experts right with 0.5 ± 0.3 by the side of the embedding: knowing the side is worth 0.3.
    assert found.gain == pytest.approx(0.3, abs=0.08)
    assert found.gain_low < found.gain < found.gain_high


def test_what_the_category_explains_is_not_counted() -> None:
    table, embeddings = world(strength=0.3)
    sides = tuple("left" if vector[0] > 0 else "right" for vector in embeddings)
    known = OutcomeTable(table.uids, sides, table.prompts, table.experts, table.scores)
    assert remaining_signal(known, embeddings).gain < 0.03


def test_identical_prompts_are_never_paired() -> None:
    embeddings = np.asarray([[1, 0], [1, 0], [0.9, 0.44], [0, 1]], dtype=np.float32)
    left, right, _ = neighbour_pairs(embeddings, ["a", "a ", "b", "c"])
    assert (0, 1) not in set(zip(left.tolist(), right.tolist(), strict=True))
    assert (0, 2) in set(zip(left.tolist(), right.tolist(), strict=True))


def world(strength: float, prompts: int = 1500) -> tuple[OutcomeTable, Matrix]:
    """Two experts, each better by `strength` on its own side of the plane; one category."""
    random = np.random.default_rng(3)
    angles = random.uniform(0, 2 * np.pi, prompts)
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    side = np.sign(embeddings[:, :1]) * np.asarray([[1.0, -1.0]])
    scores = (random.random((prompts, 2)) < 0.5 + strength * side).astype(np.float32)
    experts = tuple(ExpertCard(name=name, params_b=1, active_params_b=1) for name in ("a", "b"))
    uids = tuple(f"p{row}" for row in range(prompts))
    return OutcomeTable(uids, ("all",) * prompts, uids, experts, scores), embeddings
