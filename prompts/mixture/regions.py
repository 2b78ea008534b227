"""Demo clustering (arXiv 2407.00256, section on demo assignment): regions of the problem space.

K-means over the embeddings of the demos' inputs; K minimises the share of inertia that is left plus a
penalty for each region. Pure but for scikit-learn, which only building needs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.mixture import Matrix, MixtureError, Vector

Indices = NDArray[np.intp]

RESTARTS = 10
"""Of k-means, from other first centroids; the best is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Division:
    """Demos in regions: `labels` (n,) says which, `centroids` (K, d) and `radii` (K,) where and how wide;
    `criterion` has the value that each tried K had."""

    labels: Indices
    centroids: Matrix
    radii: Vector
    criterion: dict[int, float]

    def __len__(self) -> int:
        return len(self.centroids)

    def members(self, region: int) -> Indices:
        """Indices of a region's demos."""
        return np.flatnonzero(self.labels == region)

    def complement(self, region: int) -> Indices:
        """Indices of the demos of all other regions; of all demos when there is no other region."""
        outside = np.flatnonzero(self.labels != region)
        return outside if len(outside) else np.arange(len(self.labels))


def demo_clustering(embeddings: Matrix, config: BuildConfig) -> Division:
    """Divide demos, float32 (n, d), into at most `max_regions` regions of at least `min_region_demos`."""
    points = np.asarray(embeddings, dtype=np.float64)
    distinct = len(np.unique(points, axis=0))
    most = max(1, min(config.max_regions, len(points) // config.min_region_demos, distinct))
    least = min(config.min_regions, most)
    total = float(np.sum((points - points.mean(axis=0)) ** 2))
    runs = {k: _k_means(points, k, config.seed) for k in range(least, most + 1)}
    left = {k: _inertia(points, labels) / total if total > 0 else 0.0 for k, labels in runs.items()}
    criterion = {k: share + config.region_penalty * k for k, share in left.items()}
    best = min(criterion, key=lambda k: (round(criterion[k], 12), k))
    labels = _without_small(points, runs[best], config.min_region_demos)
    centroids = _centroids(points, labels)
    radii = _radii(points, labels, centroids, config)
    return Division(labels, centroids.astype(np.float32), radii.astype(np.float32), criterion)


def assign(points: NDArray[np.float64], centroids: NDArray[np.float64]) -> Indices:
    """The nearest of `centroids` (K, d) for each row of `points` (n, d); the first of equals."""
    gaps = points[:, None, :] - centroids[None, :, :]
    return np.asarray(np.einsum("nkd,nkd->nk", gaps, gaps).argmin(axis=1), dtype=np.intp)


def _k_means(points: NDArray[np.float64], k: int, seed: int) -> Indices:
    if k == 1:
        return np.zeros(len(points), dtype=np.intp)
    try:
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise MixtureError("building a mixture needs scikit-learn: pip install 'coterie[fit]'") from error
    # A hundred points are no work for threads, which on a busy machine wait for one another.
    with threadpool_limits(limits=1):
        fitted = KMeans(k, n_init=RESTARTS, random_state=seed).fit(points)
    # Numbered by first member, so that nothing hangs on the order in which k-means found them.
    order = {label: number for number, label in enumerate(dict.fromkeys(fitted.labels_.tolist()))}
    return np.asarray([order[label] for label in fitted.labels_.tolist()], dtype=np.intp)


def _inertia(points: NDArray[np.float64], labels: Indices) -> float:
    return float(np.sum((points - _centroids(points, labels)[labels]) ** 2))


def _centroids(points: NDArray[np.float64], labels: Indices) -> NDArray[np.float64]:
    return np.stack([points[labels == label].mean(axis=0) for label in range(int(labels.max()) + 1)])


def _without_small(points: NDArray[np.float64], labels: Indices, least: int) -> Indices:
    """`labels` with clusters below `least` members given, smallest first, to their nearest neighbours."""
    labels = labels.copy()
    while len(sizes := np.bincount(labels)) > 1 and sizes.min() < least:
        small = int(sizes.argmin())
        centroids = _centroids(points, labels)
        others = [label for label in range(len(sizes)) if label != small]
        members = np.flatnonzero(labels == small)
        labels[members] = np.asarray(others)[assign(points[members], centroids[others])]
        labels[labels > small] -= 1
    return labels


def _radii(
    points: NDArray[np.float64], labels: Indices, centroids: NDArray[np.float64], config: BuildConfig
) -> NDArray[np.float64]:
    """A quantile of the distances of each region's demos, drawn to that of all demos where they are few, and
    a little more.

    A demo pulls its centroid to itself; n/(n-1) times its distance is that from the mean of the others.
    """
    sizes = np.bincount(labels)[labels]
    distances = np.linalg.norm(points - centroids[labels], axis=1)
    honest = distances * sizes / np.maximum(sizes - 1, 1)
    several = honest[sizes > 1]
    everywhere = float(np.quantile(several, config.radius_quantile)) if len(several) else np.inf
    radii = []
    for label in range(len(centroids)):
        own = honest[labels == label]
        weight = len(own) / (len(own) + config.prior_samples) if len(own) > 1 else 0.0
        drawn = everywhere if weight < 1 else 0.0
        radii.append(weight * float(np.quantile(own, config.radius_quantile)) + (1 - weight) * drawn)
    return np.asarray(radii) * config.radius_slack
