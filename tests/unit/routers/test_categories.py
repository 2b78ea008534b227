"""Categories come out of the data where the data has them, and not out of noise."""

import numpy as np
import pytest

from routers.encoder import DIMENSION
from routers.features import BEYOND_STATES
from routers.fitting import FitError
from routers.fitting.categories import discover, nearest_part, split


def world(groups: int, each: int, seed: int = 0) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Prompts around `groups` directions, their features and the group of each."""
    random = np.random.default_rng(seed)
    centres = np.linalg.qr(random.normal(size=(DIMENSION, groups)))[0].T
    group = np.repeat(np.arange(groups), each)
    vectors = centres[group] + random.normal(0, 0.01, (len(group), DIMENSION))
    features = np.zeros((len(group), DIMENSION + BEYOND_STATES), dtype=np.float32)
    features[:, :DIMENSION] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    words = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
    return [f"{words[g]} number {row}" for row, g in enumerate(group)], features, group


def scored(group: np.ndarray, best: list[int], seed: int = 1) -> np.ndarray:
    """Two experts; in group g expert best[g] is right nine times of ten, the other one time."""
    random = np.random.default_rng(seed)
    truth = np.where(np.asarray(best)[group][:, None] == np.arange(2), 0.9, 0.1)
    return (random.random(truth.shape) < truth).astype(np.float32)


def test_planted_groups_are_found_and_named_by_their_words() -> None:
    prompts, features, group = world(4, 40)
    names = discover(prompts, features, DIMENSION, scored(group, [0, 1, 0, 1]), seed=0)
    for each in range(4):
        assert len({name for name, g in zip(names, group, strict=True) if g == each}) == 1
    # Groups may share a category where the same expert is best, and only there.
    assert all(len({g % 2 for n, g in zip(names, group, strict=True) if n == name}) == 1 for name in names)
    assert any("alpha" in name for name in names)
    assert names == discover(prompts, features, DIMENSION, scored(group, [0, 1, 0, 1]), seed=0)


def test_too_few_prompts_have_no_categories() -> None:
    prompts, features, group = world(2, 10)
    with pytest.raises(FitError, match="too few"):
        discover(prompts, features, DIMENSION, scored(group, [0, 1]), seed=0)


def test_a_category_is_split_where_the_ranking_of_experts_turns_inside_it() -> None:
    prompts, features, group = world(4, 60)
    given = ["left" if g < 2 else "right" for g in group]
    names = split(prompts, given, features, DIMENSION, scored(group, [0, 1, 1, 1]), seed=0)
    left = {name for name, g in zip(names, group, strict=True) if g < 2}
    right = {name for name, g in zip(names, group, strict=True) if g >= 2}
    assert len(left) == 2
    assert all(name.startswith("left-") for name in left)
    assert right == {"right"}


def test_a_new_prompt_belongs_to_the_nearest_part() -> None:
    _, features, group = world(2, 20)
    parts = [f"part-{g}" for g in group]
    assert nearest_part(features[::10], DIMENSION, features, parts) == parts[::10]
