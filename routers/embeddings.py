"""Encoder states of many texts, read on all cores, with an on-disk cache that is written block by block, so
that a run can resume."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from base.cache_folder import cache_folder
from base.files import replacing
from routers.encoder import Encoder
from routers.request import Matrix

BLOCK = 256
"""Texts per cache file."""

Progress = Callable[[int, int], None]
"""Called with (texts done, texts in total)."""


def vectors_folder() -> Path:
    """Where `encode_cached` keeps vectors unless told otherwise: `$COTERIE_CACHE/embeddings`."""
    return cache_folder() / "embeddings"


def encode_cached(
    encoder: Encoder,
    texts: Sequence[str],
    cache: Path | None = None,
    progress: Progress | None = None,
    *,
    threads: int | None = None,
) -> Matrix:
    """Embeddings of `texts`, (len(texts), dimension), float32; the rest as in `states_cached`."""
    return states_cached(encoder, texts, cache, progress, threads=threads)[:, : encoder.dimension]


def states_cached(
    encoder: Encoder,
    texts: Sequence[str],
    cache: Path | None = None,
    progress: Progress | None = None,
    *,
    threads: int | None = None,
) -> Matrix:
    """`Encoder.states` of `texts`, (len(texts), width), float32; `cache` is keyed by encoder and texts.

    Blocks are independent, so `threads` (None: one a core) of them are read at once. After an error no
    further block is begun."""
    blocks = [texts[start : start + BLOCK] for start in range(0, len(texts), BLOCK)]
    found: list[Matrix] = []
    pool = ThreadPoolExecutor(threads or os.cpu_count() or 1)
    try:
        for block in pool.map(lambda block: _block(encoder, block, cache), blocks):
            found.append(block)
            if progress:
                progress(min(len(found) * BLOCK, len(texts)), len(texts))
    finally:
        pool.shutdown(cancel_futures=True)
    return np.concatenate(found) if found else np.zeros((0, encoder.width), dtype=np.float32)


def _block(encoder: Encoder, texts: Sequence[str], cache: Path | None) -> Matrix:
    if cache is None:
        return encoder.states(texts)
    # JSON keeps ["a", "b"] and ["a b"] apart, and escapes halves of surrogate pairs.
    key = hashlib.sha256(json.dumps([encoder.name, encoder.revision, *texts]).encode()).hexdigest()
    path = cache / f"{key[:32]}.npy"
    kept = _read(path)
    if kept is not None and kept.shape == (len(texts), encoder.width):
        return kept
    vectors = encoder.states(texts)
    with replacing(path) as partial, partial.open("wb") as file:
        np.save(file, vectors, allow_pickle=False)
    return vectors


def _read(path: Path) -> Matrix | None:
    """The kept block, None when there is none or the file is damaged."""
    try:
        kept: Matrix = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError):
        return None
    return kept
