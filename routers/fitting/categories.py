"""Categories by k-means on embeddings and format features: discovered, or split from given ones.

Clustering ignores scores; held-out scores choose the number of clusters and decide on splits.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from routers.correction import contrasts
from routers.features import format_columns
from routers.fitting.fit_options import FitError
from routers.fitting.splits import FOLDS, Index, assign_folds, distinct_prompts, fold_splits
from routers.request import Matrix

CLUSTER_COUNTS = (3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
FORMAT_WEIGHTS = (0.0, 0.3)
"""Scale of the format features relative to the embedding."""
MIN_PER_CLUSTER = 12
MIN_TO_SPLIT = 80
MAX_DEPTH = 3
"""Nested splits of one category."""
SHRINKAGE = 20.0
"""Pseudo-count of the overall mean in a cluster's mean."""
MIN_GAIN = 2.0
"""Standard errors by which a split must reduce the held-out error."""
_WORD = re.compile(r"[a-z]{3,14}")
_COMMON = {
    "the", "and", "for", "that", "with", "this", "are", "was", "you", "your", "from", "have", "has",
    "not", "but", "which", "what", "how", "can", "will", "would", "all", "its", "his", "her",
    "their", "they", "one", "two", "there", "been", "who", "when", "where", "than", "then", "each",
    "following", "should", "into", "does", "about", "more", "any", "out", "use", "used", "given",
    "find",
}  # fmt: skip


def discover(
    prompts: Sequence[str], features: Matrix, dimension: int, scores: Matrix, seed: int
) -> list[str]:
    """A category for each prompt, named by its two most distinctive words.

    The number of clusters minimises the held-out error of `scores` (prompts, experts; NaN where unscored).
    Raises FitError with too few prompts for three clusters.
    """
    from sklearn.cluster import KMeans

    folds = assign_folds(prompts, np.zeros(len(prompts), dtype=np.int64), seed=seed)
    best: Index | None = None
    least = np.inf
    for weight in FORMAT_WEIGHTS:
        space = _space(features, dimension, weight)
        for number in CLUSTER_COUNTS:
            if len(set(prompts)) < number * MIN_PER_CLUSTER:
                break
            labels = KMeans(number, n_init=2, random_state=seed).fit_predict(space).astype(np.int64)
            if distinct_prompts(prompts, labels, number).min() < FOLDS:
                continue
            error = float(_held_out_errors(scores, labels, folds).mean())
            if error < least:
                best, least = labels, error
    if best is None:
        raise FitError(
            f"{len(set(prompts))} different prompts are too few to find categories in: "
            f"{CLUSTER_COUNTS[0] * MIN_PER_CLUSTER} or more are needed"
        )
    return _named(prompts, best, [f"c{each + 1:02d}" for each in range(int(best.max()) + 1)])


def split(
    prompts: Sequence[str],
    categories: Sequence[str],
    features: Matrix,
    dimension: int,
    scores: Matrix,
    seed: int,
) -> list[str]:
    """`categories`, recursively bisected (MAX_DEPTH times) where separate utilities reduce the held-out error
    of contrasts by more than MIN_GAIN standard errors."""
    space = _space(features, dimension, FORMAT_WEIGHTS[-1])
    labels = np.unique(np.asarray(categories), return_inverse=True)[1].astype(np.int64)
    folds = assign_folds(prompts, labels, seed=seed)
    names = list(categories)
    for each in sorted(set(categories)):
        inside = np.asarray([row for row, name in enumerate(categories) if name == each])
        parts = _bisect(inside, space, scores, prompts, folds, seed, MAX_DEPTH)
        if len(parts) > 1:
            of_part = np.zeros(len(inside), dtype=np.int64)
            for number, rows in enumerate(parts):
                of_part[np.searchsorted(inside, rows)] = number
            stems = [each] * len(parts)
            for row, name in zip(inside, _named([prompts[r] for r in inside], of_part, stems), strict=True):
                names[int(row)] = name
    return names


def nearest_part(features: Matrix, dimension: int, parts: Matrix, of_part: Sequence[str]) -> list[str]:
    """For each row of `features`, the part with the nearest centroid of its rows (`parts`, `of_part`)."""
    names = sorted(set(of_part))
    member = np.asarray(of_part)
    centres = np.stack([parts[member == name, :dimension].mean(axis=0) for name in names])
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    return [names[int(best)] for best in (features[:, :dimension] @ centres.T).argmax(axis=1)]


def _bisect(
    rows: Index,
    space: Matrix,
    scores: Matrix,
    prompts: Sequence[str],
    folds: Index,
    seed: int,
    depth: int,
) -> list[Index]:
    from sklearn.cluster import KMeans

    if depth == 0 or len(rows) < MIN_TO_SPLIT or len(np.unique(space[rows], axis=0)) < 2 * FOLDS:
        return [rows]
    halves = KMeans(2, n_init=4, random_state=seed).fit_predict(space[rows]).astype(np.int64)
    if distinct_prompts([prompts[row] for row in rows], halves, 2).min() < MIN_PER_CLUSTER:
        return [rows]
    together = _held_out_errors(scores[rows], np.zeros(len(rows), dtype=np.int64), folds[rows])
    apart = _held_out_errors(scores[rows], halves, folds[rows])
    saved = together - apart
    if saved.mean() <= MIN_GAIN * saved.std(ddof=1) / np.sqrt(len(saved)):
        return [rows]
    return [
        part
        for half in (0, 1)
        for part in _bisect(rows[halves == half], space, scores, prompts, folds, seed, depth - 1)
    ]


def _space(features: Matrix, dimension: int, weight: float) -> Matrix:
    embeddings = features[:, :dimension]
    if not weight:
        return embeddings
    formats = format_columns(features)
    scale = np.where(formats.std(axis=0) < 1e-3, 1.0, formats.std(axis=0)).astype(np.float32)
    scores = np.clip((formats - formats.mean(axis=0)) / scale, -4, 4) * np.float32(weight)
    return np.concatenate([embeddings, scores / np.float32(np.sqrt(scores.shape[1]))], axis=1)


def _held_out_errors(scores: Matrix, labels: Index, folds: Index) -> npt.NDArray[np.float64]:
    """Held-out squared error of the contrasts predicted by their label's shrunk mean, per complete prompt."""
    complete = ~np.isnan(scores).any(axis=1)
    targets = contrasts(scores[complete]).astype(np.float64)
    labels, folds = labels[complete], folds[complete]
    errors = np.zeros(len(targets))
    for fit, held in fold_splits(folds):
        overall = targets[fit].mean(axis=0)
        for label in np.unique(labels[held]):
            own, asked = fit[labels[fit] == label], held[labels[held] == label]
            mean = (targets[own].sum(axis=0) + SHRINKAGE * overall) / (len(own) + SHRINKAGE)
            errors[asked] = ((targets[asked] - mean) ** 2).sum(axis=1)
    return errors


def _named(prompts: Sequence[str], labels: Index, stems: Sequence[str]) -> list[str]:
    """Names of the labels' categories: the stem and the two most distinctive words."""
    words = [set(_WORD.findall(prompt.lower()[:2000])) - _COMMON for prompt in prompts]
    inside: list[Counter[str]] = [Counter() for _ in stems]
    for found, label in zip(words, labels, strict=True):
        inside[label].update(found)
    sizes = np.bincount(labels, minlength=len(stems))
    everywhere: Counter[str] = Counter()
    for counter in inside:
        everywhere.update(counter)
    names: list[str] = []
    for stem, counter, size in zip(stems, inside, sizes, strict=True):
        others = max(len(prompts) - int(size), 1)

        contrast = {
            word: count / max(int(size), 1) - (everywhere[word] - count) / others
            for word, count in counter.items()
        }
        best = sorted(contrast, key=lambda word: (-contrast[word], word))[:2]
        name = "-".join([stem, *best])
        names.append(name if name not in names else f"{name}-{len(names) + 1}")
    return [names[label] for label in labels]
