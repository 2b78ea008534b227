"""Estimates: luck is drawn to the mean, real differences stand, and easy samples make nobody better."""

import numpy as np
import pytest

from prompts.mixture.estimates import MAX_PSEUDO_COUNT, Scores, estimates, pseudo_count
from prompts.mixture.regions import Indices


def fitted(scores: Scores, regions: list[int], shrinkage: float | None = None) -> Scores:
    return estimates(scores, np.asarray(regions), max(regions) + 1, shrinkage, 8.0)


def test_with_all_trials_and_no_drawing_estimates_are_means() -> None:
    scores = np.random.default_rng(0).integers(0, 2, size=(4, 12)).astype(float)
    regions = np.repeat([0, 1, 2], 4)
    means = np.stack([scores[:, regions == each].mean(axis=1) for each in range(3)], axis=1)
    np.testing.assert_allclose(fitted(scores, regions.tolist(), 0.0), means, atol=1e-9)


def test_much_drawing_leaves_every_region_the_same_order() -> None:
    scores = np.random.default_rng(1).integers(0, 2, size=(5, 20)).astype(float)
    found = fitted(scores, [0] * 10 + [1] * 10, 1e9)
    np.testing.assert_allclose(found - found[0], np.tile((found - found[0])[:, :1], 2), atol=1e-6)


def test_a_prompt_that_was_asked_easy_samples_only_is_not_taken_for_a_better_one() -> None:
    """Two equal prompts; the second was asked the easy half."""
    easy = np.asarray([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    scores = np.stack([easy, np.where(easy > 0, easy, np.nan)])
    found = fitted(scores, [0] * 8)
    assert found[0, 0] == pytest.approx(found[1, 0], abs=1e-6) == pytest.approx(0.5, abs=1e-6)


def test_a_region_without_samples_has_the_estimates_of_all() -> None:
    scores = np.asarray([[1.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    found = estimates(scores, np.zeros(4, dtype=np.intp), 2, None, 8.0)
    np.testing.assert_allclose(found[:, 1], found[:, 0])


def everything(scores: Scores, regions: Indices) -> float | None:
    """Strength from whole tables."""
    rest = scores - scores.mean(axis=0)
    rest = rest - rest.sum(axis=1, keepdims=True) / max(1, len(regions))
    return pseudo_count(rest, np.ones(scores.shape, dtype=bool), regions, int(regions.max(initial=0)) + 1)


def test_strength_is_high_where_regions_are_alike_and_low_where_they_differ() -> None:
    rng = np.random.default_rng(0)
    regions = np.repeat(np.arange(8), 12)
    alike = (rng.random((6, 96)) < np.linspace(0.2, 0.8, 6)[:, None]).astype(float)
    harder = alike - 0.5 * (regions % 2)  # for every prompt alike
    different = (rng.random((6, 96)) < rng.random((6, 8))[:, regions]).astype(float)
    measured = [everything(each, regions) for each in (alike, different)]
    assert measured[0] is not None and measured[1] is not None
    assert measured[0] > 20 > 5 > measured[1]
    assert everything(harder, regions) == pytest.approx(measured[0])


def test_strength_finds_the_variances_that_made_the_scores() -> None:
    rng = np.random.default_rng(1)
    regions = np.repeat(np.arange(60), 10)
    effects = rng.normal(0, 0.5, size=(5, 60))[:, regions]
    scores = effects + rng.normal(0, 1.0, size=(5, 600))
    assert everything(scores, regions) == pytest.approx(1.0 / 0.25, rel=0.25)


def test_where_few_prompts_were_asked_everything_strength_errs_on_the_side_of_caution() -> None:
    """As sequential halving leaves it: the later a sample, the fewer prompts were asked it."""
    rng = np.random.default_rng(2)
    found = []
    for _ in range(20):
        regions = np.repeat(np.arange(6), 14)
        scores = rng.normal(0, 0.5, size=(30, 6))[:, regions] + rng.normal(0, 1.0, size=(30, 84))
        place = np.tile(np.arange(14), 6)
        asked = np.stack([place < max(1, 14 * (row + 1) // 30) for row in range(30)])
        asked[0] = True
        rest = np.where(asked, scores, np.nan)
        easiness = np.nanmean(rest, axis=0)
        rest = rest - easiness
        rest = np.where(asked, rest - np.nanmean(rest, axis=1, keepdims=True), 0.0)
        found.append(pseudo_count(rest, asked, regions, 6))
    known = [each for each in found if each is not None]
    assert len(known) == 20
    assert 4.0 * 0.75 < float(np.median(known)) < 4.0 * 3


def test_strength_has_a_bound_where_regions_differ_by_less_than_chance() -> None:
    regions = np.repeat(np.arange(6), 10)
    scores = np.tile([[1.0, 0.0], [0.0, 1.0]], 30)
    assert everything(scores, regions) == MAX_PSEUDO_COUNT


@pytest.mark.parametrize("regions", [[0, 0, 0, 0], [0, 1, 2, 3], []])
def test_strength_is_unknown_without_several_regions_of_several_samples(regions: list[int]) -> None:
    assert everything(np.ones((2, len(regions))), np.asarray(regions, dtype=np.intp)) is None
