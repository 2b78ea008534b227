"""The array forest predicts what scikit-learn's does, for one row and for many."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import ExtraTreesRegressor

from routers.fitting import trees
from routers.fitting.trees import concatenate, grow
from routers.forest import Forest


def data(rows: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(rows, 6)).astype(np.float32)
    inputs[:, 5] = random.integers(0, 3, rows)  # ties with thresholds
    step = np.where(inputs[:, :1] > 0, 1.0, -1.0)
    return inputs, (step * [1, 0, -1] + random.normal(0, 0.3, (rows, 3))).astype(np.float32)


SMALL = grow(*data(60), trees=2, seed=0, cores=1).forest


def test_it_predicts_what_scikit_learn_predicts() -> None:
    inputs, targets = data()
    grown = grow(inputs[:300], targets[:300], trees=20, seed=3, cores=1)
    model = ExtraTreesRegressor(
        20, min_samples_leaf=trees.MIN_SAMPLES_LEAF, max_features=trees.MAX_FEATURES, random_state=3
    ).fit(inputs[:300], targets[:300])
    expected = model.predict(inputs[300:])
    assert grown.forest.predict(inputs[300:]) == pytest.approx(expected, abs=1e-5)
    one_by_one = np.concatenate([grown.forest.predict(row[None]) for row in inputs[300:320]])
    assert one_by_one == pytest.approx(expected[:20], abs=1e-5)


def test_no_shrinkage_changes_nothing_and_much_of_it_leaves_the_mean() -> None:
    inputs, targets = data()
    grown = grow(inputs, targets, trees=10, seed=0, cores=1)
    assert grown.shrunk(0.0).predict(inputs) == pytest.approx(grown.forest.predict(inputs), abs=1e-5)
    assert grown.shrunk(1e9).predict(inputs) == pytest.approx(
        np.broadcast_to(targets.mean(axis=0), targets.shape), abs=1e-3
    )


def test_shrinkage_helps_where_there_is_noise() -> None:
    inputs, _ = data(150)
    unseen, _ = data(500, seed=1)
    noise = np.random.default_rng(2).normal(0, 1, (150, 3)).astype(np.float32)
    grown = grow(inputs, noise, trees=30, seed=0, cores=1)
    errors = [float((grown.shrunk(each).predict(unseen) ** 2).mean()) for each in (0, 20, 160)]
    assert errors[2] < errors[1] < errors[0]


def test_a_damaged_forest_is_refused() -> None:
    inputs, targets = data(60)
    arrays = dict(grow(inputs, targets, trees=2, seed=0, cores=1).forest.arrays())
    assert Forest.load(arrays).predict(inputs).shape == (60, 3)
    with pytest.raises(ValueError, match="do not agree"):
        Forest.load({**arrays, "children": arrays["children"] + 10_000})
    with pytest.raises(ValueError, match="loop"):
        Forest.load({**arrays, "children": np.zeros_like(arrays["children"])})
    with pytest.raises(ValueError, match="run into each other"):
        Forest.load({**arrays, "roots": np.zeros(2, dtype=np.int32)})
    with pytest.raises(ValueError, match="before the first"):
        Forest.load({**arrays, "feature": arrays["feature"] - 10})
    with pytest.raises(KeyError):
        Forest.load({"feature": arrays["feature"]})


def damages(arrays: Mapping[str, np.ndarray]) -> Mapping[str, Mapping[str, np.ndarray]]:
    """What can be wrong with a forest's arrays, by what is then said."""
    leaf = int(np.flatnonzero(arrays["children"][::2] == np.arange(len(arrays["feature"])))[0])
    split = int(np.flatnonzero(arrays["children"][::2] != np.arange(len(arrays["feature"])))[-1])
    shared, half, gone = (arrays["children"].copy() for _ in range(3))
    shared[2 * split] = shared[2 * split + 1]
    half[2 * leaf] = leaf + 1
    gone[[2 * split, 2 * split + 1]] = split
    unknown = arrays["threshold"].copy()
    unknown[split] = np.nan
    return {
        "threshold is short": {"threshold": arrays["threshold"][:-1]},
        "values are short": {"values": arrays["values"][:-1]},
        "values are long": {"values": np.concatenate([arrays["values"]] * 2)},
        "values are flat": {"values": arrays["values"].ravel()},
        "children are square": {"children": arrays["children"].reshape(-1, 2)},
        "a root beyond the last node": {"roots": np.asarray([0, len(arrays["feature"])], dtype=np.int32)},
        "no roots": {"roots": arrays["roots"][:0]},
        "numbers that are no integers": {"children": arrays["children"].astype(np.float32)},
        "two parents": {"children": shared},
        "a leaf with a child": {"children": half},
        "nodes that nothing leads to": {"children": gone},
        "a threshold that is no number": {"threshold": unknown},
        "values that are no numbers": {"values": arrays["values"] * np.float32("nan")},
    }


@pytest.mark.parametrize("damage", sorted(damages(SMALL.arrays())))
def test_a_forest_that_would_crash_or_answer_wrongly_is_refused(damage: str) -> None:
    with pytest.raises(ValueError, match="the forest"):
        Forest.load({**SMALL.arrays(), **damages(SMALL.arrays())[damage]})


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(["feature", "children", "roots"]),
    place=st.integers(0, 10_000),
    value=st.integers(-2, 60),
)
def test_a_forest_with_any_changed_number_is_refused_or_still_predicts(
    name: str, place: int, value: int
) -> None:
    arrays = {key: array.copy() for key, array in SMALL.arrays().items()}
    arrays[name][place % len(arrays[name])] = value
    try:
        forest = Forest.load(arrays)
    except ValueError as refusal:
        assert str(refusal).startswith("the forest")
        return
    inputs = np.zeros((4, forest.columns), dtype=np.float32)
    predicted = forest.predict(inputs)
    assert predicted.shape == (4, 3) and np.isfinite(predicted).all()


def test_rows_that_are_too_short_are_refused() -> None:
    inputs, targets = data(60)
    forest = grow(inputs, targets, trees=2, seed=0, cores=1).forest
    with pytest.raises(ValueError, match="columns"):
        forest.predict(inputs[:, : forest.columns - 1])


def test_joined_forests_predict_their_mean() -> None:
    inputs, targets = data(100)
    parts = [grow(inputs, targets, trees=4, seed=seed, cores=1) for seed in (0, 1)]
    mean = np.mean([part.forest.predict(inputs) for part in parts], axis=0)
    assert concatenate(parts).forest.predict(inputs) == pytest.approx(mean, abs=1e-5)
    assert concatenate(parts).shrunk(20.0).predict(inputs) == pytest.approx(
        np.mean([part.shrunk(20.0).predict(inputs) for part in parts], axis=0), abs=1e-5
    )


def test_a_tree_is_grown_on_a_bounded_sample_of_many_prompts() -> None:
    inputs = np.random.default_rng(0).random((trees.MAX_SAMPLES + 500, 2)).astype(np.float32)
    grown = grow(inputs, inputs, trees=2, seed=0, cores=1)
    assert grown.samples[grown.forest.roots].tolist() == [trees.MAX_SAMPLES] * 2
    predicted = grown.forest.values[grown.forest.leaves(inputs)].mean(axis=1)
    assert np.abs(predicted - inputs).mean() < 0.1
