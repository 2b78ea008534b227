"""Fingerprints of a composition's training prompts (`seen.safetensors`), for decontamination of reports.

Not read by the service and not in the manifest; its metadata names the composition. Per prompt, without
its text:

- a digest of the normalised text (16 bytes),
- a MinHash signature of its character 5-grams (128 bytes; Broder 1997, b-bit after Li and König 2010),
  which estimates Jaccard similarity,
- its embedding quantised to int8.
"""

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from base.files import file_digest, write_bytes
from routers.request import Matrix

FILE = "seen.safetensors"
FORMAT = "2"
GRAM = 5
HASHES = 128
DIGEST_BYTES = 16

Bytes = npt.NDArray[np.uint8]
_OPERATORS = "-*/%\\"


class FingerprintError(Exception):
    """The fingerprints are damaged or belong to another composition."""


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """`digests` (n, 16) and `signatures` (n, 128), uint8; `vectors` (n, dimension), int8, dimension 0 without
    embeddings."""

    digests: Bytes
    signatures: Bytes
    vectors: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def known(self) -> frozenset[bytes]:
        """The digests."""
        return frozenset(row.tobytes() for row in self.digests)

    def concatenate(self, others: "Fingerprints") -> "Fingerprints":
        """Concatenation; embeddings are dropped unless both have them."""
        vectors = np.zeros((len(self) + len(others), 0), dtype=np.int8)
        if self.vectors.shape[1] == others.vectors.shape[1]:
            vectors = np.concatenate([self.vectors, others.vectors])
        elif not len(others):
            vectors = self.vectors
        return Fingerprints(
            np.concatenate([self.digests, others.digests]),
            np.concatenate([self.signatures, others.signatures]),
            vectors,
        )

    def embeddings(self) -> Matrix:
        """Embeddings of unit length, float32."""
        rows = self.vectors.astype(np.float32)
        unit: Matrix = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return unit


def fingerprints_of(prompts: Sequence[str], embeddings: Matrix | None = None) -> Fingerprints:
    """Fingerprints of `prompts` with `embeddings` (len(prompts), dimension)."""
    plain = [normalised(prompt) for prompt in prompts]
    digests = b"".join(map(_digest_of, plain))
    if embeddings is None:
        embeddings = np.zeros((len(prompts), 0), dtype=np.float32)
    largest = np.abs(embeddings).max(axis=1, keepdims=True, initial=1e-12)
    return Fingerprints(
        np.frombuffer(digests, dtype=np.uint8).reshape(len(prompts), DIGEST_BYTES),
        np.stack([_signature_of(each) for each in plain]) if plain else np.zeros((0, HASHES), dtype=np.uint8),
        np.rint(embeddings / largest * 127).astype(np.int8),
    )


def normalised(text: str) -> str:
    """`text` after NFKC, case folding, collapsing white space and removing punctuation except arithmetic
    operators; a text of punctuation alone is only stripped."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = folded.translate(_SPACED)
    return " ".join(kept.split()) or text.strip()


class _Punctuation(dict[int, str]):
    """For `str.translate`: a space for each punctuation mark but the operators, looked up once for each."""

    def __missing__(self, point: int) -> str:
        character = chr(point)
        dropped = character not in _OPERATORS and unicodedata.category(character).startswith("P")
        self[point] = " " if dropped else character
        return self[point]


_SPACED = _Punctuation()


def text_digest(text: str) -> bytes:
    """16 bytes of the SHA-256 of the normalised text."""
    return _digest_of(normalised(text))


def signature(text: str) -> Bytes:
    """The MinHash signature of the normalised text's character 5-grams, shape (128,)."""
    return _signature_of(normalised(text))


def _digest_of(plain: str) -> bytes:
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).digest()[:DIGEST_BYTES]


def _signature_of(plain: str) -> Bytes:
    padded = f" {plain} ".encode("utf-32-le", "surrogatepass")
    points = np.frombuffer(padded, dtype=np.uint32).astype(np.uint64)
    count = max(1, len(points) - GRAM + 1)
    grams = np.zeros(count, dtype=np.uint64)
    for offset in range(min(GRAM, len(points))):
        grams = grams * _BASE + points[offset : offset + count]
    grams = np.unique(_mixed(grams))
    least = np.full(HASHES, np.iinfo(np.uint64).max, dtype=np.uint64)
    for start in range(0, len(grams), 4096):
        hashed = _mixed(grams[start : start + 4096, None] ^ _SALTS)
        least = np.minimum(least, hashed.min(axis=0))
    low: Bytes = (least & np.uint64(255)).astype(np.uint8)
    return low


def jaccard(ours: Bytes, theirs: Bytes) -> Matrix:
    """Estimated Jaccard similarity along the last axis, 0..1; standard error below .045."""
    share = np.equal(ours, theirs).mean(axis=-1, dtype=np.float32)
    # Correct for chance collisions of the last byte.
    similar: Matrix = np.clip((share - 1 / 256) / (1 - 1 / 256), 0, 1)
    return similar


def write_fingerprints(folder: Path, fingerprints: Fingerprints) -> None:
    """Write them atomically to the composition's `folder`."""
    from safetensors.numpy import save

    content = save(
        {
            "digests": fingerprints.digests,
            "signatures": fingerprints.signatures,
            "vectors": fingerprints.vectors,
        },
        metadata={
            "format": FORMAT,
            "composition": _manifest_digest(folder),
            "content": _content_digest(fingerprints),
        },
    )
    write_bytes(content, folder / FILE)


def load_fingerprints(folder: Path) -> Fingerprints | None:
    """The fingerprints of the composition in `folder`, None if there are none. Raises FingerprintError."""
    from safetensors import SafetensorError, safe_open

    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, Any] = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise FingerprintError(f"{path} is of another version: fit the composition again")
            if metadata.get("composition") != _manifest_digest(folder):
                raise FingerprintError(f"{path} belongs to another composition: fit this one again")
            found = Fingerprints(
                file.get_tensor("digests"), file.get_tensor("signatures"), file.get_tensor("vectors")
            )
            if metadata.get("content") != _content_digest(found):
                raise FingerprintError(f"{path} is damaged: fit the composition again")
            return found
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise FingerprintError(
            f"{path} holds no fingerprints ({error!r}): fit the composition again"
        ) from error


def _content_digest(fingerprints: Fingerprints) -> str:
    arrays = (fingerprints.digests, fingerprints.signatures, fingerprints.vectors)
    content = hashlib.sha256()
    for array in arrays:
        content.update(f"{array.dtype}{array.shape}".encode())
        content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()


def _manifest_digest(folder: Path) -> str:
    return file_digest(folder / "composition.json")


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))


_BASE = np.uint64(0x9E3779B97F4A7C15)
_SALTS = _mixed(np.arange(1, HASHES + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
