"""Similarity-weighted k-nearest neighbours over FAISS: exact up to EXACT_UP_TO prompts, then HNSW (far below
1 ms per search with 50,000 prompts)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from routers.encoder import DIMENSION
from routers.request import Matrix

NEIGHBOURS = 20
SHARPNESS = 12.0
"""A neighbour at cosine similarity s has weight exp(SHARPNESS·s)."""
SMOOTHING = 0.02
"""Share of the votes spread evenly over the categories."""
EXACT_UP_TO = 5_000
"""Number of prompts above which the index is HNSW."""
INDEX_FILE = "index.faiss"


@dataclass(frozen=True, slots=True)
class KnnClassifier:
    """`index` holds unit vectors (inner product); `labels` (prompts,) their categories."""

    index: Any  # faiss has no types
    labels: npt.NDArray[np.int64]
    categories: int

    FILES: ClassVar[tuple[str, ...]] = (INDEX_FILE,)
    """What `save_index` writes."""

    @classmethod
    def fit(
        cls, features: Matrix, labels: npt.NDArray[np.int64], categories: int, dimension: int = DIMENSION
    ) -> Self:
        """Every category 0..categories-1 must occur in `labels`; `dimension` is the embedding's."""
        import faiss

        embeddings = features[:, :dimension]
        index: Any = faiss.IndexFlatIP(dimension)
        if len(embeddings) > EXACT_UP_TO:
            index = faiss.IndexHNSWFlat(dimension, 16, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = 80
            index.hnsw.efSearch = 48
        index.add(np.ascontiguousarray(embeddings, dtype=np.float32))
        return cls(index, labels.astype(np.int64), categories)

    @classmethod
    def load(cls, arrays: Mapping[str, Matrix], folder: Path) -> Self:
        import faiss

        try:
            index = faiss.read_index(str(folder / INDEX_FILE))
        except RuntimeError as error:
            raise ValueError(f"{INDEX_FILE} is no index") from error
        labels, categories = arrays["labels"].astype(np.int64), int(arrays["categories"][0])
        if labels.shape != (index.ntotal,) or not ((labels >= 0) & (labels < categories)).all():
            raise ValueError("the classifier's index and labels do not agree")
        return cls(index, labels, categories)

    def logits(self, features: Matrix) -> Matrix:
        """Log of smoothed votes, shape (rows, categories)."""
        embeddings = features[:, : self.index.d]
        count = min(NEIGHBOURS, len(self.labels))
        similarity, found = self.index.search(np.ascontiguousarray(embeddings, dtype=np.float32), count)
        # HNSW marks missing results by -1.
        similarity = np.where(found >= 0, similarity, -1)
        votes = np.exp(SHARPNESS * (similarity - similarity[:, :1])) * (found >= 0)
        shares = np.zeros((len(embeddings), self.categories), dtype=np.float32)
        rows = np.repeat(np.arange(len(embeddings)), count)
        np.add.at(shares, (rows, self.labels[found].ravel()), votes.ravel())
        shares /= shares.sum(axis=1, keepdims=True)
        logits: Matrix = np.log((1 - SMOOTHING) * shares + SMOOTHING / self.categories)
        return logits

    def arrays(self) -> Mapping[str, Matrix]:
        return {
            "labels": self.labels.astype(np.float32),
            "categories": np.asarray([self.categories], dtype=np.float32),
        }

    def save_index(self, folder: Path) -> None:
        import faiss

        faiss.write_index(self.index, str(folder / INDEX_FILE))
