"""Stage 1: three category classifiers behind one protocol, from rows of `routers.features` to logits."""

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
        """The arrays that a composition stores."""
        ...

    def save_index(self, folder: Path) -> None:
        """Write what is not an array (a FAISS index), if anything."""
        ...


CLASSIFIERS: Mapping[str, type[KnnClassifier] | type[LogisticClassifier] | type[CentroidClassifier]] = {
    "knn": KnnClassifier,
    "logistic": LogisticClassifier,
    "centroid": CentroidClassifier,
}
"""By the name for `coterie fit --classifier`. `load` raises KeyError or ValueError."""

__all__ = ["CLASSIFIERS", "CentroidClassifier", "Classifier", "KnnClassifier", "LogisticClassifier"]
