"""Demo clustering (arXiv 2407.00256): k-means over the embeddings of the demos' inputs, where K minimises the
remaining share of inertia plus a penalty per region."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.mixture import Matrix, MixtureError, Vector

Indices = NDArray[np.intp]

RESTARTS = 10
"""`n_init` of k-means."""


@dataclass(frozen=True, slots=True, eq=False)
class DemoClusters:
    """`labels` (n,), `centroids` (K, d), `radii` (K,); `criterion`: its value for each K tried."""

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
        """Indices of the demos of all other regions; all demos for a single region."""
        outside = np.flatnonzero(self.labels != region)
        return outside if len(outside) else np.arange(len(self.labels))


def demo_clustering(embeddings: Matrix, config: BuildConfig) -> DemoClusters:
    """Cluster demos, float32 (n, d), into at most `max_regions` regions of at least `min_region_demos`."""
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
    return DemoClusters(labels, centroids.astype(np.float32), radii.astype(np.float32), criterion)


def assign(points: NDArray[np.float64], centroids: NDArray[np.float64]) -> Indices:
    """The nearest of `centroids` (K, d) for each row of `points` (n, d)."""
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
    # Threads do not pay for a few hundred points.
    with threadpool_limits(limits=1):
        fitted = KMeans(k, n_init=RESTARTS, random_state=seed).fit(points)
    # Numbered by first member, independent of k-means' own order.
    order = {label: number for number, label in enumerate(dict.fromkeys(fitted.labels_.tolist()))}
    return np.asarray([order[label] for label in fitted.labels_.tolist()], dtype=np.intp)


def _inertia(points: NDArray[np.float64], labels: Indices) -> float:
    return float(np.sum((points - _centroids(points, labels)[labels]) ** 2))


def _centroids(points: NDArray[np.float64], labels: Indices) -> NDArray[np.float64]:
    return np.stack([points[labels == label].mean(axis=0) for label in range(int(labels.max()) + 1)])


def _without_small(points: NDArray[np.float64], labels: Indices, least: int) -> Indices:
    """`labels` with clusters below `least` members merged, smallest first, into their nearest neighbours."""
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
    """`radius_slack` times the quantile of each region's leave-one-out distances, shrunk to that of all demos
    with the pseudo-count `prior_samples`. (n/(n-1) · distance to the centroid is the leave-one-out
    distance.)"""
    sizes = np.bincount(labels)[labels]
    distances = np.linalg.norm(points - centroids[labels], axis=1)
    left_out = distances * sizes / np.maximum(sizes - 1, 1)
    several = left_out[sizes > 1]
    overall = float(np.quantile(several, config.radius_quantile)) if len(several) else np.inf
    radii = []
    for label in range(len(centroids)):
        own = left_out[labels == label]
        weight = len(own) / (len(own) + config.prior_samples) if len(own) > 1 else 0.0
        prior = overall if weight < 1 else 0.0
        radii.append(weight * float(np.quantile(own, config.radius_quantile)) + (1 - weight) * prior)
    return np.asarray(radii) * config.radius_slack
