"""Sets of demos: few that stand for many, in the context, and never with the demo that is asked."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts.mixture.call_budget import Asking
from prompts.mixture.demo_sets import NO_DEMOS, DemoSet, demo_sets, representative
from prompts.mixture.demos import Demo
from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.pool import DemoPool, MixtureError
from prompts.mixture.prompt_scoring import PromptScorer
from tests.unit.prompts.mixture.world import ToyModel, encode, toy_demos

DEMOS = toy_demos(20)


def pool_of(*demos: Demo) -> DemoPool:
    return DemoPool(demos, encode([demo.input for demo in demos]))


POOL = pool_of(*DEMOS)
HALVES = [np.arange(0, 20, 2), np.arange(1, 20, 2)]


def sets(pool: DemoPool = POOL, **hyperparameters: Any) -> list[dict[str, DemoSet]]:
    config = BuildConfig.model_validate(hyperparameters)
    asking = PromptScorer(config, Asking(ToyModel(), concurrency=1, max_calls=1), 16)
    regions = HALVES if len(pool) == 20 else [np.arange(len(pool))]
    return [{each.name: each for each in own} for own in demo_sets(regions, pool, asking)]


def test_representative_demos_cover_every_bunch() -> None:
    axes = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    pool = DemoPool(tuple(Demo(str(n), f"out {n}") for n in range(12)), axes)
    chosen = representative(np.arange(12), pool, 3)
    assert sorted(index // 4 for index in chosen) == [0, 1, 2]


def test_fewer_representative_demos_begin_the_longer_list() -> None:
    longest = representative(np.arange(20), POOL, 9)
    assert [representative(np.arange(20), POOL, n) for n in range(10)] == [longest[:n] for n in range(10)]


def test_rare_labels_are_shown_too() -> None:
    demos = tuple(Demo(str(n), "rare" if n == 7 else "common") for n in range(20))
    pool = DemoPool(demos, np.ones((20, 2), dtype=np.float32))
    assert 7 in representative(np.arange(20), pool, 2)


def test_a_region_shows_its_own_demos_some_from_everywhere_or_the_nearest() -> None:
    found = sets(demo_counts=(2, 4), shared_demos=6, nearest_counts=(3,))[1]
    assert {name: (each.count, each.nearest) for name, each in found.items()} == {
        "none": (0, 0),
        "shared:6": (6, 0),
        "nearest:3": (0, 3),
        "region:2": (2, 0),
        "region:4": (4, 0),
    }
    assert found["region:2"].fixed == found["region:4"].fixed[:2]
    assert {index % 2 for index in found["region:4"].ranked} == {1}
    assert {index % 2 for index in found["shared:6"].fixed} == {0, 1}


def test_sets_that_nobody_wants_are_not_there() -> None:
    assert [list(each) for each in sets(demo_counts=(), shared_demos=0, nearest_counts=())] == [["none"]] * 2


@given(st.integers(0, 19), st.sampled_from(["none", "shared:8", "nearest:4", "region:8"]))
def test_a_demo_is_never_shown_itself_and_others_take_its_place(asked: int, name: str) -> None:
    found = sets()[asked % 2][name]
    shown = found.shown_to(asked, POOL)
    assert asked not in shown and len(set(shown)) == len(shown)
    assert len(shown) == (found.count or found.nearest)


def test_what_comes_before_the_demo_that_is_asked_stays_where_it_is() -> None:
    ranked = DemoSet("region:3", (4, 8, 2, 6), 3)
    assert ranked.shown_to(8, POOL) == (4, 6, 2)
    assert ranked.shown_to(6, POOL) == (4, 8, 2)


def test_another_demo_of_the_same_label_stands_in_for_the_one_that_is_asked() -> None:
    labelled = pool_of(*(Demo(f"mirror {n}", "odd" if n % 2 else "even") for n in range(8)))
    ranked = DemoSet("region:2", (0, 1, 2, 3), 2)
    assert ranked.shown_to(1, labelled) == (0, 3)
    assert ranked.shown_to(0, labelled) == (2, 1)


def test_where_all_demos_are_shown_one_less_is_shown_to_one_of_them() -> None:
    assert DemoSet("region:2", (0, 1), 2).shown_to(0, POOL) == (1,)


def test_a_twin_of_the_demo_that_is_asked_is_not_shown_either() -> None:
    """The encoder sees no case, and little of blanks."""
    demos = (*DEMOS[:6], Demo(DEMOS[0].input.upper(), DEMOS[0].output), *DEMOS[6:])
    rows = encode([demo.input.lower() for demo in demos])
    pool = DemoPool(demos, rows)
    assert pool.twins(0) == {0, 6} and pool.twins(1) == {1}
    assert not {0, 6} & set(DemoSet("nearest:9", nearest=9).shown_to(0, pool))
    assert DemoSet("region:2", (6, 1, 2, 3), 2).shown_to(0, pool) == (2, 1)


def test_a_stand_in_fits_the_context_too() -> None:
    long = pool_of(*DEMOS[:18], Demo("mirror " + "w " * 500, "x"), DEMOS[18])
    for region in sets(long, context_tokens=1000, demo_counts=(4,)):
        cut = region["region:4"]
        for asked in cut.ranked:
            size = sum(len(long.demos[each].input) for each in cut.shown_to(asked, long))
            assert size / 2.5 < 1000 - 256


def test_sets_are_cut_to_the_context() -> None:
    cut = sets(context_tokens=530)[0]
    assert 0 < cut["region:8"].count < 8
    assert 0 < cut["nearest:8"].nearest < 8
    none = sets(context_tokens=100)[0]
    assert {(each.count, each.nearest) for each in none.values()} == {(0, 0)}


def test_one_input_that_fits_no_context_does_not_forbid_all_demos() -> None:
    long = pool_of(*DEMOS[:19], Demo("mirror " + "w " * 6000, "x"))
    found = sets(long, context_tokens=2048)
    assert all(region["region:4"].count == 4 for region in found if 19 not in region["region:4"].ranked)
    assert found[0]["region:4"].count == 4


def test_the_nearest_come_last_and_without_those_left_out() -> None:
    row = POOL.embeddings[3]
    likeness = POOL.embeddings @ row
    found = POOL.nearest(row, 5)
    assert found[-1] == 3
    assert [likeness[index] for index in found] == sorted(likeness)[-5:]
    assert POOL.nearest(row, 4, {3}) == found[:-1]
    assert len(POOL.nearest(row, 50)) == 20


@given(st.integers(0, 99))
def test_of_equally_near_demos_the_first_is_nearer(seed: int) -> None:
    row = np.random.default_rng(seed).normal(size=384).astype(np.float32)
    row /= np.linalg.norm(row)
    alike = DemoPool(DEMOS, np.tile(row, (20, 1)))
    assert alike.nearest(row, 3) == (2, 1, 0)


@pytest.mark.parametrize("count", [0, -1])
def test_none_are_the_nearest_of_none(count: int) -> None:
    assert (
        POOL.nearest(POOL.embeddings[0], count)
        == ()
        == DemoPool((), np.zeros((0, 8), np.float32)).nearest(POOL.embeddings[0], 3)
    )


def test_a_pool_needs_an_embedding_for_each_demo() -> None:
    with pytest.raises(MixtureError, match="one row each"):
        DemoPool(DEMOS, np.zeros((3, 2), dtype=np.float32))


def test_no_demos_is_a_set_too() -> None:
    assert NO_DEMOS.shown_to(3, POOL) == ()
