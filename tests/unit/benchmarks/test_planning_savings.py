"""The benchmarks of planning and joining count what they say they count."""

import numpy as np

from benchmarks.add_expert_cost import measure
from benchmarks.planning_savings import race
from routers.composition import ExpertCard
from routers.outcome_table import OutcomeTable


def table() -> OutcomeTable:
    """Two categories; of three experts one is best at each, by a wide margin."""
    rng = np.random.default_rng(3)
    labels = ["law"] * 120 + ["math"] * 120
    chances = np.asarray([[0.9, 0.2, 0.5]] * 120 + [[0.1, 0.8, 0.5]] * 120)
    return OutcomeTable(
        tuple(f"p{row}" for row in range(240)),
        tuple(labels),
        tuple(f"prompt {row}" for row in range(240)),
        tuple(ExpertCard(name, size, size) for name, size in (("a", 7.0), ("b", 8.0), ("c", 9.0))),
        rng.binomial(1, chances).astype(np.float32),
    )


def test_all_ways_start_alike_and_planning_reaches_the_full_map() -> None:
    found = race("small", table(), repeats=2, batches=6)
    assert found.even[0] == found.random[0] == found.planned[0]
    assert found.total == 360
    assert found.judgments[1] - found.judgments[0] == 2 * found.cells == 12
    assert found.planned[-1] >= found.full - 0.02


def test_a_row_gets_nearer_with_more_prompts() -> None:
    found = {each.prompts: each for each in measure("small", table(), repeats=2)}
    assert found[100].error < found[0].error
    assert found[0].regret >= 0
