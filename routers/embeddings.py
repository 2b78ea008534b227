"""Embeddings of many texts, computed once: a cache on disk, filled in blocks, so that it resumes."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from routers.encoder import Encoder
from routers.request import Matrix

BLOCK = 256
"""Texts a cache file holds: what an interruption can cost."""

Progress = Callable[[int, int], None]
"""Called with (texts done, texts in all)."""


def encode_cached(
    encoder: Encoder, texts: Sequence[str], cache: Path | None = None, progress: Progress | None = None
) -> Matrix:
    """Vectors of `texts`, shape (len(texts), dimension), float32, read from `cache` where possible.

    Blocks are keyed by the encoder and their texts, so a changed text makes another block.
    """
    blocks = []
    for start in range(0, len(texts), BLOCK):
        block = texts[start : start + BLOCK]
        blocks.append(_block(encoder, block, cache))
        if progress:
            progress(start + len(block), len(texts))
    return np.concatenate(blocks) if blocks else np.zeros((0, encoder.dimension), dtype=np.float32)


def _block(encoder: Encoder, texts: Sequence[str], cache: Path | None) -> Matrix:
    if cache is None:
        return encoder.encode(texts)
    key = hashlib.sha256("\0".join([encoder.name, encoder.revision, *texts]).encode()).hexdigest()
    path = cache / f"{key[:32]}.npy"
    if path.exists():
        kept: Matrix = np.load(path, allow_pickle=False)
        return kept
    vectors = encoder.encode(texts)
    cache.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npy")
    np.save(partial, vectors, allow_pickle=False)
    partial.rename(path)
    return vectors
