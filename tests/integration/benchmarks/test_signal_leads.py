"""What is planted in a table beyond its categories is found by the rows that can read it, and by no other."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmarks.signal_leads import Gain, measure, outside_scores, read_world, rows_of
from eval.outcome_export import write_table
from routers.composition import ExpertCard
from routers.outcome_table import OutcomeTable

TOPICS = {"cooking": ("soup", "bread", "salad", "pie"), "sport": ("tennis", "rowing", "chess", "running")}


@pytest.fixture(scope="module")
def gains(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Gain]:
    """Of two experts one is right about lists, the other about what is not; each category has both."""
    random = np.random.default_rng(0)
    prompts, categories, scores = [], [], []
    for number in range(240):
        category = ("cooking", "sport")[number % 2]
        word = TOPICS[category][number // 2 % 4]
        listed = bool(random.integers(2))
        end = "\n1. first\n2. second\n3. third" if listed else ""
        prompts.append(f"Note {number}: what should I know of {word}?{end}")
        categories.append(category)
        scores.append((float(listed), float(not listed)))
    table = OutcomeTable(
        tuple(f"p{number}" for number in range(240)),
        tuple(categories),
        tuple(prompts),
        (ExpertCard("lists", 7, 7), ExpertCard("prose", 7, 7)),
        np.asarray(scores, dtype=np.float32),
    )
    folder = tmp_path_factory.mktemp("signal")
    write_table(table, folder / "planted")
    further = pa.table(
        {"uid": list(table.uids), "third": [first for first, _ in scores], "prose": [0.0] * 240}
    )
    parquet.write_table(further, folder / "further.parquet")
    world = read_world(folder / "planted")
    assert outside_scores(world, folder / "further.parquet").shape == (240, 1)
    rows = [row for row in rows_of(world, folder / "further.parquet", None, None) if row.share == 1]
    found = measure(world, rows, folder)
    assert measure(world, rows, folder) == found
    return {each.name: each for each in found}


def test_the_format_says_who_is_right_and_the_category_does_not(gains: dict[str, Gain]) -> None:
    assert gains["format"].explained > 0.8
    assert gains["format"].low > 0.2
    assert gains["format"].aside_low > 0.2
    assert gains["posterior alone"].explained < 0.2


def test_shuffled_prompts_say_nothing(gains: dict[str, Gain]) -> None:
    assert all(gains[f"shuffled within the category, {seed}"].explained < 0.2 for seed in (1, 2, 3))


def test_a_further_expert_that_shares_the_skill_says_it_too(gains: dict[str, Gain]) -> None:
    assert gains["told the scores of 1 further experts"].low > 0.2
