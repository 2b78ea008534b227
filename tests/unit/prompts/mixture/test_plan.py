"""What a build will ask is known before it asks, and never more than agreed."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.mixture import MixtureError
from prompts.mixture.plan import halvings, plan, samples_by_round, split, spread


@given(st.integers(8, 400), st.floats(0, 0.5), st.integers(0, 9))
def test_a_split_shares_all_demos_out_once(count: int, held_out: float, seed: int) -> None:
    config = BuildConfig(held_out_share=held_out, seed=seed)
    parts = split(count, config)
    together = np.concatenate([parts.known, parts.held_out])
    assert sorted(together.tolist()) == list(range(count))
    assert len(parts.known) >= len(parts.held_out) - 1 <= config.held_out_most


def test_a_split_is_the_seeds() -> None:
    one, same, other = (split(50, BuildConfig(seed=seed)).known.tolist() for seed in (1, 1, 2))
    assert one == same != other


def test_a_hundred_demos_take_what_the_config_says() -> None:
    sizes = plan([14] * 6, 15, BuildConfig())
    assert (sizes.candidates, sizes.kept, sizes.scoring_samples, sizes.region_samples) == (20, 4, 20, 14)
    assert not sizes.reduced
    assert sizes.most_calls <= 1500


@given(st.integers(1, 200))
def test_rounds_halve_what_is_compared_down_to_two(candidates: int) -> None:
    sizes = halvings(candidates)
    assert sizes[0] == candidates and sizes[-1] <= 2
    assert all(now == math.ceil(before / 2) for before, now in pairwise(sizes))


@given(st.integers(0, 100), st.integers(1, 7), st.sampled_from([1, 2, 4, 64]))
def test_rounds_take_more_and_more_samples_up_to_all(samples: int, rounds: int, boost: int) -> None:
    after = samples_by_round(samples, rounds, boost)
    assert after == sorted(after) and after[-1] == samples
    assert len(after) == rounds and (samples == 0 or after[0] > 0)


def test_calls_that_are_left_go_to_the_early_rounds() -> None:
    few, many = (plan([12] * 3, 0, BuildConfig(max_calls=most)) for most in (1000, 9000))
    assert few.boost < many.boost
    assert few.most_calls <= 1000
    assert many.most_calls == 40 + 21 * 20 + 36 * (30 + 1)  # everything on everything


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=10).filter(any),
    st.integers(0, 60),
    st.integers(1, 3000),
)
def test_a_plan_keeps_within_its_calls_or_says_that_it_cannot(
    regions: list[int], held_out: int, most: int
) -> None:
    try:
        sizes = plan(regions, held_out, BuildConfig(max_calls=most))
    except MixtureError as error:
        assert f"max_calls is {most}" in str(error)
        assert most < 7 * len(regions) + 2 * held_out + 1
    else:
        assert sizes.most_calls <= most
        assert sizes.region_samples >= 1


def test_samples_are_given_up_before_candidates() -> None:
    sizes = plan([20] * 5, 10, BuildConfig(max_calls=1000))
    assert (sizes.candidates, sizes.kept) == (20, 4)
    assert 4 <= sizes.region_samples < 20


def test_samples_are_spread_over_regions() -> None:
    assert spread([[1, 2, 3], [], [4]], 3) == [1, 4, 2]
    assert spread([[1], [2]], 9) == [1, 2]


@pytest.mark.parametrize(
    "wrong",
    [
        {"held_out_share": 0.6},
        {"nearest_counts": [0]},
        {"min_regions": 5, "max_regions": 4},
        {"demo_counts": [0]},
        {"shrinkage": float("inf")},
        {"unknown": 1},
        {"metric": "likelihood"},
    ],
)
def test_a_config_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)) if len(wrong) == 1 else "more than"):
        BuildConfig.model_validate(wrong)
