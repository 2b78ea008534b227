"""What is fitted to measure growth is what it claims to be."""

from pathlib import Path

import numpy as np

from benchmarks.fit_growth import STEPS, DrawnStates, table
from benchmarks.growth_data import EXPERTS, perturbed, write_table
from benchmarks.index_growth import exact_neighbours
from routers.outcome_table import read_outcomes


def unit(rows: int, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(rows, 24)).astype(np.float32)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True))


def test_drawn_vectors_are_of_unit_length_and_near_what_they_were_drawn_around() -> None:
    real = unit(60)
    drawn, sources = perturbed(real, 500, seed=1)
    assert np.allclose(np.linalg.norm(drawn, axis=1), 1, atol=1e-5)
    assert len(np.unique(drawn, axis=0)) == 500
    assert ((drawn @ real.T).argmax(axis=1) == sources).mean() > 0.5
    assert np.array_equal(perturbed(real, 500, seed=1)[0], drawn)


def test_a_synthetic_table_is_read_as_any_other(tmp_path: Path) -> None:
    write_table(tmp_path, ["0 a", "1 b", "2 c"], ["x", "y", "x"])
    found = read_outcomes(tmp_path)
    assert found.expert_names == tuple(EXPERTS)
    assert found.categories == ("x", "y", "x")
    assert set(np.unique(found.scores)) <= {0.0, 1.0}


def test_a_text_has_the_states_of_its_number() -> None:
    states = unit(12)
    asked = DrawnStates(states, 8).encode(["11 what is it?", "2 2 4"])
    assert np.array_equal(asked, states[[11, 2], :8])


def test_exact_neighbours_are_the_most_similar_in_order() -> None:
    indexed, asked = unit(300), unit(4, seed=1)
    near, found = exact_neighbours(indexed, asked, 7)
    expected = np.argsort(-(asked @ indexed.T), axis=1)[:, :7]
    assert np.array_equal(found, expected)
    assert np.allclose(near, np.take_along_axis(asked @ indexed.T, expected, axis=1))


def test_the_table_says_what_a_prompt_takes() -> None:
    spent = {**dict.fromkeys(STEPS, 1.0), "total": 20.0, "wall": 30.0, "memory": 512.0}
    row = table({10_000: spent}).splitlines()[-1]
    assert row.startswith("| 10,000 | 20 | 2.0 |")
    assert row.endswith("| 512 |")
