"""Choosing a region: the nearest, unless it is too far."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts.mixture.demos import Demo
from prompts.mixture.layout import FewShotPrompt
from prompts.mixture.mixture import Mixture, MixtureError, Region, RegionChoice, Vector
from prompts.mixture.pool import DemoPool

EAST, NORTH = (np.eye(3, dtype=np.float32)[axis] for axis in (0, 1))


def small_mixture(*regions: Region) -> Mixture:
    own = regions or (
        Region(EAST, 0.5, "Go east.", (Demo("a", "b"),)),
        Region(NORTH, 0.5, "Go north."),
    )
    return Mixture("compass", "llm", "toy", "1", own, FewShotPrompt("Stay."))


POOL = DemoPool(
    (Demo("east", "e"), Demo("north", "n"), Demo("north-east", "ne")),
    np.asarray([[1, 0, 0], [0, 1, 0], [0.6, 0.8, 0]], dtype=np.float32),
)


def picking_mixture() -> Mixture:
    """Its first region picks two demos for each request, its second shows one to all."""
    regions = (Region(EAST, 0.7, "Go east.", nearest=2), Region(NORTH, 0.5, "Go north.", (Demo("a", "b"),)))
    return Mixture("compass", "llm", "toy", "1", regions, FewShotPrompt("Stay."), pool=POOL)


def at(*numbers: float) -> Vector:
    return np.asarray(numbers, dtype=np.float32)


def test_the_nearest_region_is_taken() -> None:
    assert small_mixture().choose(EAST) == RegionChoice(0, 0.0, False)
    assert small_mixture().choose(at(0, 0.9, 0)).region == 1


def test_a_request_far_from_every_region_gets_the_fallback() -> None:
    mixture = small_mixture()
    choice = mixture.choose(at(0, 0, 1))
    assert (choice.region, choice.fallback) == (None, True)
    assert choice.distance == pytest.approx(2**0.5)
    asked = [{"role": "user", "content": "where?"}]
    assert mixture.messages(choice, asked)[0] == {"role": "system", "content": "Stay."}


def test_of_equally_near_regions_the_first_is_taken() -> None:
    twins = small_mixture(Region(EAST, 1.0, "first"), Region(EAST, 1.0, "second"))
    assert twins.choose(EAST).region == 0


def test_the_edge_of_a_region_belongs_to_it() -> None:
    mixture = small_mixture(Region(at(0, 0, 0), 1.0))
    assert not mixture.choose(EAST).fallback
    assert mixture.choose(at(1.01, 0, 0)).fallback


def test_an_embedding_that_is_no_number_is_far_from_everything() -> None:
    assert small_mixture().choose(at(np.nan, 0, 0)).fallback


def test_an_embedding_of_another_encoder_is_refused() -> None:
    with pytest.raises(MixtureError, match=r"toy .*3"):
        small_mixture().choose(np.zeros(4, dtype=np.float32))


def test_a_mixture_needs_regions_of_one_space() -> None:
    with pytest.raises(MixtureError, match="no region"):
        Mixture("x", "llm", "toy", "1", ())
    with pytest.raises(MixtureError, match="not of one space"):
        small_mixture(Region(EAST, 1.0), Region(np.zeros(2, dtype=np.float32), 1.0))


def test_a_regions_prompt_goes_in_front() -> None:
    mixture = small_mixture()
    asked = [{"role": "user", "content": "where?"}]
    said = mixture.messages(mixture.choose(EAST), asked)
    assert [message["content"] for message in said] == ["Go east.", "a", "b", "where?"]


def test_a_region_may_show_each_request_the_demos_nearest_to_it() -> None:
    mixture = picking_mixture()
    near = at(0.9, 0.435, 0)
    choice = mixture.choose(near)
    assert choice == RegionChoice(0, choice.distance, False, (2, 0))
    said = mixture.messages(choice, [{"role": "user", "content": "where?"}])
    assert [message["content"] for message in said] == ["Go east.", "north-east", "ne", "east", "e", "where?"]
    assert mixture.choose(EAST).nearest == (2, 0)


def test_other_regions_and_far_requests_are_shown_no_picked_demos() -> None:
    mixture = picking_mixture()
    assert mixture.choose(NORTH).nearest == () == mixture.choose(at(0, 0, 1)).nearest
    assert mixture.prompt(mixture.choose(NORTH)) == FewShotPrompt("Go north.", (Demo("a", "b"),))


def test_the_longest_prompt_of_a_region_is_known_before_any_request() -> None:
    mixture = picking_mixture()
    assert mixture.longest(0) == [FewShotPrompt("Go east.", (POOL.demos[2], POOL.demos[1]))] * 2
    assert mixture.longest(1) == [FewShotPrompt("Go north.", (Demo("a", "b"),))]


def test_the_longest_prompt_is_so_by_characters_and_by_bytes() -> None:
    demos = (Demo("x" * 30, "y"), Demo("\u6771" * 20, "y"), Demo("z", "y"))
    pool = DemoPool(demos, np.eye(3, dtype=np.float32))
    picks = Mixture("x", "llm", "toy", "1", (Region(EAST, 2.0, nearest=1),), pool=pool)
    assert picks.longest(0) == [FewShotPrompt(demos=demos[:1]), FewShotPrompt(demos=demos[1:2])]


@pytest.mark.parametrize("wrong", [Region(EAST, np.nan), Region(EAST, -1.0), Region(EAST, 1.0, nearest=-1)])
def test_a_region_that_cannot_be_is_refused(wrong: Region) -> None:
    with pytest.raises(MixtureError, match="radius"):
        Mixture("x", "llm", "toy", "1", (wrong,), pool=POOL)


def test_a_mixture_that_picks_needs_a_pool_of_its_space() -> None:
    picks = (Region(EAST, 0.7, nearest=2),)
    with pytest.raises(MixtureError, match="no pool"):
        Mixture("x", "llm", "toy", "1", picks)
    with pytest.raises(MixtureError, match="two kinds of demos"):
        Mixture("x", "llm", "toy", "1", (Region(EAST, 0.7, "", (Demo("a", "b"),), 2),), pool=POOL)
    with pytest.raises(MixtureError, match="not of one space"):
        Mixture("x", "llm", "toy", "1", picks, pool=DemoPool((Demo("a", "b"),), np.ones((1, 2), np.float32)))


@given(st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3))
def test_no_region_is_nearer_than_the_chosen_one(numbers: list[float]) -> None:
    mixture = small_mixture()
    choice = mixture.choose(at(*numbers))
    distances = [float(np.linalg.norm(region.centroid - at(*numbers))) for region in mixture.regions]
    assert choice.distance == pytest.approx(min(distances), abs=1e-5)
    assert choice.fallback == (choice.region is None)
