"""Routing baselines, fitted on the router's training data: each is a choice of expert per prompt; `random`
and the two oracles are scores only."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from routers.evidence import Evidence
from routers.request import Matrix

Choices = npt.NDArray[np.int64]
NEIGHBOURS = (20, 40, 80)
CLUSTERS = (16, 32, 64)
FOLDS = 3

Chooser = Callable[[Matrix, Matrix, Matrix, int], Choices]
"""(training embeddings, their scores, test embeddings, hyperparameter) → choices."""


def best_single(evidence: Evidence) -> int:
    """The expert with the best mean training score."""
    return int(np.nanmean(evidence.scores, axis=0).argmax())


def knn_choices(evidence: Evidence, embeddings: Matrix) -> Choices:
    """The expert with the best mean score over the k nearest training prompts; k by cross-validation."""
    count = _best_setting(evidence, NEIGHBOURS, _by_neighbours)
    return _by_neighbours(evidence.embeddings, evidence.scores, embeddings, count)


def kmeans_choices(evidence: Evidence, embeddings: Matrix) -> Choices:
    """The best expert of the nearest k-means cluster (Avengers, arXiv 2505.19797); k by cross-validation."""
    count = _best_setting(evidence, CLUSTERS, _by_clusters)
    return _by_clusters(evidence.embeddings, evidence.scores, embeddings, count)


def category_choices(evidence: Evidence, categories: Sequence[str], truth: Sequence[str]) -> Choices:
    """The best training expert of each prompt's true category; `best_single` for unseen categories.
    `categories` are those that the evidence's labels index."""
    fallback = best_single(evidence)
    expert_of = {}
    for index, category in enumerate(categories):
        rows = evidence.scores[evidence.labels == index]
        if len(rows):
            # Unscored experts have no mean.
            scored = ~np.isnan(rows).all(axis=0)
            means = np.full(rows.shape[1], -np.inf)
            means[scored] = np.nanmean(rows[:, scored], axis=0)
            expert_of[category] = int(means.argmax())
    return np.asarray([expert_of.get(category, fallback) for category in truth], dtype=np.int64)


def _best_setting(evidence: Evidence, settings: Sequence[int], choose: Chooser) -> int:
    fold_of = np.random.default_rng(0).integers(FOLDS, size=len(evidence))
    totals = dict.fromkeys([each for each in settings if each * 2 <= len(evidence)] or [1], 0.0)
    for fold in range(FOLDS):
        held = fold_of == fold
        if not held.any() or held.all():
            continue
        for setting in totals:
            chosen = choose(
                evidence.embeddings[~held], evidence.scores[~held], evidence.embeddings[held], setting
            )
            totals[setting] += float(np.nansum(evidence.scores[held][np.arange(held.sum()), chosen]))
    return max(totals, key=lambda each: totals[each])


def _by_neighbours(seen: Matrix, scores: Matrix, embeddings: Matrix, count: int) -> Choices:
    import faiss

    index = faiss.IndexFlatIP(seen.shape[1])
    index.add(np.ascontiguousarray(seen))
    _, found = index.search(np.ascontiguousarray(embeddings), min(count, len(seen)))
    chosen: Choices = _mean(scores[found], axis=1).argmax(axis=1)
    return chosen


def _by_clusters(seen: Matrix, scores: Matrix, embeddings: Matrix, count: int) -> Choices:
    from sklearn.cluster import KMeans

    model = KMeans(min(count, len(seen)), n_init=1, random_state=0).fit(seen)
    overall = _mean(scores, axis=0)
    best = []
    for cluster in range(model.n_clusters):
        rows = scores[model.labels_ == cluster]
        best.append(int((_mean(rows, axis=0) if len(rows) else overall).argmax()))
    chosen: Choices = np.asarray(best, dtype=np.int64)[model.predict(embeddings.astype(seen.dtype))]
    return chosen


def _mean(scores: Matrix, axis: int) -> Matrix:
    """Mean of the scored entries, 0 without any."""
    seen = ~np.isnan(scores)
    mean: Matrix = np.where(seen, scores, 0).sum(axis=axis) / np.maximum(seen.sum(axis=axis), 1)
    return mean
