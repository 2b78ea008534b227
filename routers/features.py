"""Feature vectors of requests: [states (encoder.width) | lexical (LEXICAL) | format (COUNT)].

The states begin with the embedding (encoder.dimension), which separates topics (law from medicine) better
than tasks (summarise from translate). The middle layer's state, the lexical part, a hashed bag of character
n-grams of the first and last words, where instructions stand, and the format part
(`routers.format_features`) speak of the task.
"""

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from math import log1p
from pathlib import Path

import numpy as np

from routers import format_features
from routers.conversation import prompt_text
from routers.embeddings import Progress, states_cached
from routers.encoder import DIMENSION, Encoder
from routers.request import Matrix, Vector

LEXICAL = 4096
"""Hash buckets."""
BEYOND_STATES = LEXICAL + format_features.COUNT
"""Features per text beside the `encoder.width` of its states."""
FIRST_WORDS, LAST_WORDS = 18, 12
SIZES = (2, 3, 4)
WORD_CHARACTERS = 24
WORDS_KEPT = 8_192
"""Words whose hashed n-grams are remembered, about 1 kB each: a few words make up most of what is asked."""
FORMAT = 3
"""Version of the features: to be raised with any change above; older compositions are then refused."""

_WORD = re.compile(r"\S+")


def features_of(encoder: Encoder, texts: Sequence[str]) -> Matrix:
    """Features of `texts`, shape (len(texts), encoder.width + BEYOND_STATES), float32."""
    return _with_text_parts(encoder.states(texts), texts)


def features_of_prompts(
    encoder: Encoder, prompts: Sequence[str], cache: Path | None = None, progress: Progress | None = None
) -> Matrix:
    """Features of `prompts` as the service reads them, each a conversation of its own; states are kept in
    `cache` (`routers.embeddings`)."""
    texts = [prompt_text(prompt) for prompt in prompts]
    return _with_text_parts(states_cached(encoder, texts, cache, progress), texts)


def _with_text_parts(states: Matrix, texts: Sequence[str]) -> Matrix:
    """`states` (n, width) of `texts` with their lexical and format parts appended."""
    width = states.shape[1]
    rows = np.empty((len(texts), width + BEYOND_STATES), dtype=np.float32)
    rows[:, :width] = states
    for row, text in zip(rows, texts, strict=True):
        row[width : width + LEXICAL] = lexical_part(text)
        row[width + LEXICAL :] = format_features.format_part(text)
    return rows


def format_columns(features: Matrix) -> Matrix:
    """The format part of rows of features, shape (rows, format_features.COUNT)."""
    return features[:, features.shape[1] - format_features.COUNT :]


def middle_columns(features: Matrix) -> Matrix:
    """The states of middle layers in rows of features, shape (rows, width - dimension)."""
    return features[:, DIMENSION : features.shape[1] - BEYOND_STATES]


def lexical_columns(features: Matrix) -> Matrix:
    """The lexical part of rows of features, shape (rows, LEXICAL)."""
    end = features.shape[1] - format_features.COUNT
    return features[:, end - LEXICAL : end]


def lexical_part(text: str) -> Vector:
    """Feature-hashed n-grams of the first and last words: signed log counts, unit length, (LEXICAL,)."""
    words = _WORD.findall(text.lower())
    if len(words) > FIRST_WORDS + LAST_WORDS:
        words = words[:FIRST_WORDS] + words[-LAST_WORDS:]
    counts = Counter(chain.from_iterable(_gram_codes(word[:WORD_CHARACTERS]) for word in words))
    codes = np.fromiter(counts, dtype=np.int64, count=len(counts))
    values = np.fromiter(map(log1p, counts.values()), dtype=np.float32, count=len(counts))
    vector = np.zeros(LEXICAL, dtype=np.float32)
    np.add.at(vector, codes % LEXICAL, np.where(codes & 0x80000000, values, -values))
    norm = float(np.linalg.norm(vector))
    return vector / norm if norm else vector


@lru_cache(WORDS_KEPT)
def _gram_codes(word: str) -> tuple[int, ...]:
    """The hashes of a word's n-grams, those of each size apart."""
    padded = f" {word} "
    return tuple(
        (size << 32) + zlib.crc32(padded[start : start + size].encode("utf-8", "surrogatepass"))
        for size in SIZES
        for start in range(len(padded) - size + 1)
    )
