"""Stage 1: from features to a score per category. Three classifiers behind one protocol.

Features are rows of `routers.features`: the embedding first, the lexical part after it.

Scores are logits; `routers.calibration` turns them into probabilities.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from routers.classifiers.centroid import CentroidClassifier
from routers.classifiers.knn import KnnClassifier
from routers.classifiers.logistic import LogisticClassifier
from routers.request import Matrix


class Classifier(Protocol):
    """A fitted category classifier over `n` categories, indexed 0..n-1."""

    @property
    def categories(self) -> int:
        """n."""
        ...

    def logits(self, features: Matrix) -> Matrix:
        """Uncalibrated log-scores, shape (rows, categories)."""
        ...

    def arrays(self) -> Mapping[str, Matrix]:
        """What a composition keeps of it in safetensors."""
        ...

    def save_index(self, folder: Path) -> None:
        """Write what is not an array (a FAISS index); most write nothing."""
        ...


CLASSIFIERS: Mapping[str, type[KnnClassifier] | type[LogisticClassifier] | type[CentroidClassifier]] = {
    "knn": KnnClassifier,
    "logistic": LogisticClassifier,
    "centroid": CentroidClassifier,
}
"""By the name that `coterie fit --classifier` takes. Each has `fit` and `load`, which raises
KeyError when an array is missing and ValueError when they disagree."""

__all__ = ["CLASSIFIERS", "CentroidClassifier", "Classifier", "KnnClassifier", "LogisticClassifier"]
