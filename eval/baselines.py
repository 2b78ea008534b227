"""What a router has to beat, chosen on the data that it was fitted on and scored on the same prompts.

Each baseline is a choice of expert per prompt. `random` and the two oracles are scores only.
"""

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
"""(fitting embeddings, their scores, embeddings to choose for, setting) → choices."""


def best_single(evidence: Evidence) -> int:
    """The expert of best mean score on the fitting data."""
    return int(np.nanmean(evidence.scores, axis=0).argmax())


def knn_choices(evidence: Evidence, embeddings: Matrix) -> Choices:
    """The expert of best mean score among the nearest fitting prompts; their number is chosen by folds."""
    count = _best_setting(evidence, NEIGHBOURS, _by_neighbours)
    return _by_neighbours(evidence.embeddings, evidence.scores, embeddings, count)


def kmeans_choices(evidence: Evidence, embeddings: Matrix) -> Choices:
    """The best expert of the nearest k-means cluster (Avengers, arXiv 2505.19797); k is chosen by folds."""
    count = _best_setting(evidence, CLUSTERS, _by_clusters)
    return _by_clusters(evidence.embeddings, evidence.scores, embeddings, count)


def category_choices(evidence: Evidence, categories: Sequence[str], truth: Sequence[str]) -> Choices:
    """The perfect category map: each prompt's true category, and the expert best for it when fitted.

    `categories` are those that the evidence's labels index. A category that was not fitted takes the best
    single expert.
    """
    fallback = best_single(evidence)
    expert_of = {}
    for index, category in enumerate(categories):
        rows = evidence.scores[evidence.labels == index]
        if len(rows):
            # An expert that nobody scored there has no mean, and is not the best.
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
    """Mean over what was scored; where nothing was, 0."""
    seen = ~np.isnan(scores)
    mean: Matrix = np.where(seen, scores, 0).sum(axis=axis) / np.maximum(seen.sum(axis=axis), 1)
    return mean
