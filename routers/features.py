"""What stage 1 sees of a request: its embedding, and beside it the words that say what to do.

An encoder trained on topics tells law from medicine, but "shorten this" from "translate this" only
when the topic does not drown the verb. The second part therefore is a hashed bag of character
n-grams of the beginning and the end of the text, where people put their instruction.
"""

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from math import log1p

import numpy as np

from routers.encoder import Encoder
from routers.request import Matrix, Vector

LEXICAL = 4096
"""Buckets of the hashed part; the features of a text are `encoder.dimension` + LEXICAL numbers."""
FIRST_WORDS, LAST_WORDS = 18, 12
SIZES = (2, 3, 4)
FORMAT = 1
"""A change of anything above makes other features, and a composition of the old ones unusable."""

_WORD = re.compile(r"\S+")


def features_of(encoder: Encoder, texts: Sequence[str]) -> Matrix:
    """Features of `texts`, shape (len(texts), encoder.dimension + LEXICAL), float32."""
    return with_lexical(encoder.encode(texts), texts)


def with_lexical(embeddings: Matrix, texts: Sequence[str]) -> Matrix:
    """`embeddings` (n, dimension) of `texts` with their lexical part appended."""
    lexical = np.stack([lexical_part(text) for text in texts]) if texts else np.zeros((0, LEXICAL))
    return np.concatenate([embeddings, lexical.astype(np.float32)], axis=1)


def lexical_part(text: str) -> Vector:
    """Hashed n-grams of the first and last words: signed, damped counts, unit length, (LEXICAL,)."""
    words = _WORD.findall(text.lower())
    if len(words) > FIRST_WORDS + LAST_WORDS:
        words = words[:FIRST_WORDS] + words[-LAST_WORDS:]
    counts: Counter[str] = Counter()
    for word in words:
        padded = f" {word[:24]} "
        for size in SIZES:
            counts.update(padded[start : start + size] for start in range(len(padded) - size + 1))
    vector = np.zeros(LEXICAL, dtype=np.float32)
    for gram, count in counts.items():
        code = zlib.crc32(gram.encode("utf-8", "surrogatepass"))
        vector[code % LEXICAL] += (1 if code & 0x80000000 else -1) * log1p(count)
    norm = float(np.linalg.norm(vector))
    return vector / norm if norm else vector
