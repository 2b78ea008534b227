"""What is unlike everything seen scores high, as a quantile that people can read."""

import numpy as np
import pytest

from routers.novelty import PROTOTYPES, Novelty, fit_prototypes, fit_quantiles


def unit(rows: np.ndarray) -> np.ndarray:
    made: np.ndarray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return made


def around(direction: int, count: int, seed: int = 0, dimension: int = 8) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(0, 0.05, (count, dimension))
    rows[:, direction] += 1
    return unit(rows)


def test_the_distance_is_to_the_nearest_prototype_and_ignores_the_lexical_part() -> None:
    novelty = Novelty(np.eye(2, 3, dtype=np.float32), np.linspace(0, 1, 101, dtype=np.float32))
    features = np.asarray([[0, 1, 0, 9, 9], [0.6, 0, 0.8, 9, 9]], dtype=np.float32)
    assert novelty.distances(features).tolist() == pytest.approx([0, 0.4])


def test_scores_are_quantiles_of_the_held_out_distances() -> None:
    held_out = np.linspace(0.2, 0.6, 1_001, dtype=np.float32)
    novelty = Novelty(np.eye(1, 2, dtype=np.float32), fit_quantiles(held_out))
    near, middle, far, farther = np.asarray([[0.9, 0], [0.6, 0], [0.4, 0], [-1, 0]], dtype=np.float32)
    scores = novelty.scores(np.stack([near, middle, far, farther]))
    assert scores.tolist() == pytest.approx([0, 0.5, 1, 1], abs=0.01)


def test_what_was_seen_scores_low_and_another_direction_scores_one() -> None:
    seen = np.concatenate([around(0, 60, 1), around(1, 60, 2)])
    prototypes = fit_prototypes(seen, dimension=8)
    held_out = Novelty(prototypes, np.zeros(2, dtype=np.float32)).distances(around(0, 50, 3))
    novelty = Novelty(prototypes, fit_quantiles(held_out))
    assert np.median(novelty.scores(around(1, 20, 4))) < 0.9
    assert novelty.scores(around(5, 1)).tolist() == [1.0]


def test_prototypes_are_unit_vectors_one_per_three_prompts_and_bounded() -> None:
    prototypes = fit_prototypes(around(0, 90), dimension=8)
    assert prototypes.shape == (30, 8)
    assert np.linalg.norm(prototypes, axis=1) == pytest.approx(np.ones(30))
    many = unit(np.random.default_rng(0).normal(size=(3 * PROTOTYPES + 300, 8)))
    assert fit_prototypes(many, dimension=8).shape == (PROTOTYPES, 8)


def test_the_same_prompts_give_the_same_prototypes() -> None:
    rows = around(0, 60)
    assert np.array_equal(
        fit_prototypes(rows, seed=5, dimension=8), fit_prototypes(rows, seed=5, dimension=8)
    )


def test_copies_of_a_prompt_count_once() -> None:
    rows = np.repeat(around(0, 6), 50, axis=0)
    assert fit_prototypes(rows, dimension=8).shape == (2, 8)
