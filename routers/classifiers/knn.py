"""Similarity-weighted k-nearest neighbours over FAISS: exact up to EXACT_UP_TO vectors, then an HNSW graph
(Malkov and Yashunin 2016, arXiv 1603.09320) over float16 vectors, of which a search reads a few thousand
whatever the size of the index.

Copies of a prompt are one vector of the index, since a graph in which many coincide loses its way. The index
is mapped, not read: what no search touches stays on disk, and processes with the same composition share it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from routers.encoder import DIMENSION
from routers.request import Matrix

NEIGHBOURS = 20
"""Vectors that vote."""
SHARPNESS = 12.0
"""A neighbour at cosine similarity s has weight exp(SHARPNESS·s)."""
SMOOTHING = 0.02
"""Share of the votes spread evenly over the categories."""
EXACT_UP_TO = 5_000
"""Number of vectors above which the index is HNSW."""
LINKS = 32
"""Links of a vector to others in the graph (twice as many in its lowest layer)."""
BUILD_BEAM = 160
"""Candidates among which the links of a new vector are chosen."""
INDEX_FILE = "index.faiss"

Index = npt.NDArray[np.int64]


def search_beam(vectors: int) -> int:
    """Candidates that a search of a graph of so many vectors keeps: about 0.98 of the true neighbours
    are found of requests like those indexed (`benchmarks.index_growth`)."""
    return int(64 + 40 * max(0.0, log2(vectors / 50_000)))


@dataclass(frozen=True, slots=True)
class KnnClassifier:
    """`index` holds distinct unit vectors (inner product), `labels` (vectors,) their categories, `copies`
    (vectors,) how many prompts each stands for."""

    index: Any  # faiss has no types
    labels: Index
    copies: Index
    categories: int

    FILES: ClassVar[tuple[str, ...]] = (INDEX_FILE,)
    """What `save_index` writes."""

    @classmethod
    def fit(cls, features: Matrix, labels: Index, categories: int, dimension: int = DIMENSION) -> Self:
        """Every category 0..categories-1 must occur in `labels`; `dimension` is the embedding's."""
        embeddings = np.ascontiguousarray(features[:, :dimension], dtype=np.float32)
        first, copies = _distinct(embeddings, labels)
        return cls(_index(embeddings[first]), labels[first].astype(np.int64), copies, categories)

    @classmethod
    def load(cls, arrays: Mapping[str, Matrix], folder: Path) -> Self:
        faiss = _faiss()
        try:
            index = faiss.read_index(str(folder / INDEX_FILE), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise ValueError(f"{INDEX_FILE} is no index") from error
        labels, categories = arrays["labels"].astype(np.int64), int(arrays["categories"][0])
        # Older compositions have a vector for each prompt.
        copies = arrays["copies"].astype(np.int64) if "copies" in arrays else np.ones_like(labels)
        if labels.shape != (index.ntotal,) or not ((labels >= 0) & (labels < categories)).all():
            raise ValueError("the classifier's index and labels do not agree")
        if copies.shape != labels.shape or (copies < 1).any():
            raise ValueError("the classifier's index and copies do not agree")
        return cls(index, labels, copies, categories)

    @classmethod
    def held_out_logits(
        cls, features: Matrix, labels: Index, categories: int, folds: Index, dimension: int = DIMENSION
    ) -> Matrix:
        """Logits of the prompts that are fitted on, each by the neighbours outside its fold, (prompts,
        categories): cross-validation with one index instead of one a fold."""
        faiss = _faiss()
        embeddings = np.ascontiguousarray(features[:, :dimension], dtype=np.float32)
        first, copies = _distinct(embeddings, labels, folds)
        whole = cls(_index(embeddings[first]), labels[first].astype(np.int64), copies, categories)
        fold_of = folds[first]
        logits = np.zeros((len(folds), categories), dtype=np.float32)
        for fold in np.unique(folds):
            held = np.flatnonzero(folds == fold)
            # faiss reads this array without a copy of its own.
            others = np.packbits(fold_of != fold, bitorder="little")
            logits[held] = whole.log_shares(*whole._search(embeddings[held], faiss.IDSelectorBitmap(others)))
        return logits

    def logits(self, features: Matrix) -> Matrix:
        """Log of smoothed votes, shape (rows, categories)."""
        embeddings = np.ascontiguousarray(features[:, : self.index.d], dtype=np.float32)
        return self.log_shares(*self.index.search(embeddings, min(NEIGHBOURS, len(self.labels))))

    def _search(self, embeddings: Matrix, selector: Any) -> tuple[Matrix, Index]:
        """Similarities and rows of the nearest vectors that `selector` takes, both (rows, neighbours)."""
        faiss = _faiss()
        count = min(NEIGHBOURS, len(self.labels))
        plain = faiss.SearchParameters(sel=selector)
        if not hasattr(self.index, "hnsw"):
            near, found = self.index.search(embeddings, count, params=plain)
            return near, found
        walk = faiss.SearchParametersHNSW(efSearch=self.index.hnsw.efSearch, sel=selector)
        near, found = self.index.search(embeddings, count, params=walk)
        # A walk that met too few others, near-copies in its own fold filling its beam, is searched exactly.
        lacking = np.flatnonzero(found[:, -1] < 0)
        if len(lacking):
            near[lacking], found[lacking] = self.index.storage.search(
                embeddings[lacking], count, params=plain
            )
        return near, found

    def log_shares(self, similarity: Matrix, found: Index) -> Matrix:
        """Log of the smoothed votes of `found` (rows, neighbours), shape (rows, categories)."""
        # Missing results are marked by -1.
        similarity = np.where(found >= 0, similarity, -1)
        votes = np.exp(SHARPNESS * (similarity - similarity[:, :1])) * (found >= 0)
        votes *= np.minimum(self.copies[found], NEIGHBOURS)
        shares = np.zeros((len(found), self.categories), dtype=np.float32)
        rows = np.repeat(np.arange(len(found)), found.shape[1])
        np.add.at(shares, (rows, self.labels[found].ravel()), votes.ravel())
        shares /= shares.sum(axis=1, keepdims=True)
        logits: Matrix = np.log((1 - SMOOTHING) * shares + SMOOTHING / self.categories)
        return logits

    def arrays(self) -> Mapping[str, Matrix]:
        return {
            "labels": self.labels.astype(np.float32),
            "copies": self.copies.astype(np.float32),
            "categories": np.asarray([self.categories], dtype=np.float32),
        }

    def save_index(self, folder: Path) -> None:
        faiss = _faiss()
        faiss.write_index(self.index, str(folder / INDEX_FILE))


def _faiss() -> Any:
    """The module, imported when an index is used; its own types lack half of what it has."""
    import faiss

    return faiss


def _distinct(embeddings: Matrix, *keys: Index) -> tuple[Index, Index]:
    """The first row of each distinct combination of an embedding and its `keys`, and how many have it."""
    columns = [embeddings, *(np.asarray(key, dtype=np.int64)[:, None] for key in keys)]
    packed = np.concatenate([np.ascontiguousarray(each).view(np.uint8) for each in columns], axis=1)
    whole = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, copies = np.unique(whole, return_index=True, return_counts=True)
    order = np.argsort(first)
    return first[order], copies[order]


def _index(embeddings: Matrix) -> Any:
    """An index of `embeddings`. A graph is built on float32, which is quicker, and kept with float16."""
    faiss = _faiss()
    vectors, dimension = embeddings.shape
    if vectors <= EXACT_UP_TO:
        exact = faiss.IndexFlatIP(dimension)
        exact.add(embeddings)
        return exact
    graph = faiss.IndexHNSWFlat(dimension, LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = BUILD_BEAM
    graph.add(embeddings)
    half = faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexHNSWSQ(dimension, half, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.storage.add(embeddings)
    index.hnsw = graph.hnsw
    index.ntotal = vectors
    index.hnsw.efSearch = search_beam(vectors)
    return index
