"""Demo clustering: as many regions as the demos fall into, none too small, the same each time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.mixture import Matrix
from prompts.mixture.regions import demo_clustering


def bunches(*sizes: int, spread: float = 0.02, seed: int = 0) -> Matrix:
    """Points around as many corners as there are sizes, bunch after bunch."""
    rng = np.random.default_rng(seed)
    corners = np.eye(len(sizes) + 4)[: len(sizes)]
    rows = np.repeat(corners, sizes, axis=0) + rng.normal(size=(sum(sizes), len(sizes) + 4)) * spread
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_demos_in_bunches_give_a_region_to_each(count: int) -> None:
    clusters = demo_clustering(bunches(*[12] * count), BuildConfig())
    assert clusters.labels.tolist() == [bunch for bunch in range(count) for _ in range(12)]


def test_k_minimises_the_share_of_inertia_and_the_penalty() -> None:
    points = bunches(12, 12, 12)
    clusters = demo_clustering(points, BuildConfig())
    assert min(clusters.criterion, key=lambda k: clusters.criterion[k]) == 3
    total = np.sum((points - points.mean(axis=0)) ** 2)
    left = np.sum((points - clusters.centroids[clusters.labels]) ** 2)
    assert clusters.criterion[3] == pytest.approx(left / total + 3 * 0.02, rel=1e-4)
    assert clusters.criterion[1] == pytest.approx(1.02)


def test_demos_that_do_not_fall_apart_are_one_region() -> None:
    alike = np.tile(bunches(1), (30, 1))
    assert len(demo_clustering(alike, BuildConfig())) == 1
    heavy = BuildConfig(region_penalty=1.0)
    assert len(demo_clustering(bunches(12, 12), heavy)) == 1


def test_there_are_never_more_regions_than_demos_can_fill() -> None:
    clusters = demo_clustering(bunches(*[1] * 9), BuildConfig(min_region_demos=5))
    assert len(clusters) == 1
    assert list(clusters.criterion) == [1]


def test_a_small_cluster_joins_its_neighbour() -> None:
    config = BuildConfig(min_regions=3, max_regions=3)
    clusters = demo_clustering(bunches(20, 20, 2), config)
    assert np.bincount(clusters.labels).min() >= config.min_region_demos
    assert len(clusters) == 2


def test_the_complement_is_all_other_regions() -> None:
    clusters = demo_clustering(bunches(6, 7, 8), BuildConfig())
    assert clusters.complement(1).tolist() == [*range(6), *range(13, 21)]
    assert clusters.complement(0).tolist() == list(range(6, 21))


def test_the_complement_of_the_only_region_is_everything() -> None:
    clusters = demo_clustering(np.tile(bunches(1), (6, 1)), BuildConfig())
    assert clusters.complement(0).tolist() == list(range(6))


def test_radii_are_quantiles_of_distances_from_the_mean_of_the_others() -> None:
    points = bunches(30, 30, spread=0.05)
    config = BuildConfig(prior_samples=0.0, radius_quantile=0.5, radius_slack=1.1)
    clusters = demo_clustering(points, config)
    own = points[:30].astype(np.float64)
    left_out = [np.linalg.norm(own[each] - np.delete(own, each, axis=0).mean(axis=0)) for each in range(30)]
    assert clusters.radii[0] == pytest.approx(1.1 * np.quantile(left_out, 0.5), rel=1e-5)


def test_radii_hold_about_the_share_of_new_demos_that_they_should() -> None:
    clusters = demo_clustering(bunches(60, 60, spread=0.05), BuildConfig(radius_quantile=0.9))
    new = bunches(400, 400, spread=0.05, seed=1)
    distances = np.linalg.norm(new[:, None] - clusters.centroids[None], axis=2)
    nearest = distances.argmin(axis=1)
    inside = distances.min(axis=1) <= clusters.radii[nearest]
    assert 0.8 < inside.mean() < 0.97


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(0, 5), st.integers(1, 6))
def test_every_demo_is_in_one_region_and_no_region_is_small(count: int, seed: int, least: int) -> None:
    points = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    config = BuildConfig(seed=seed, min_region_demos=least)
    clusters, again = (demo_clustering(points, config) for _ in range(2))
    sizes = np.bincount(clusters.labels, minlength=len(clusters))
    assert sizes.sum() == count
    assert len(clusters) == 1 or sizes.min() >= least
    assert len(clusters) <= config.max_regions
    assert (clusters.labels == again.labels).all() and (clusters.centroids == again.centroids).all()
