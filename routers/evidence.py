"""The training data of a composition (`evidence.safetensors`), for replays, plans and cost curves.

Optional, and not loaded by the service; its digest is in the manifest. It holds digests of the prompts
instead of their text.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from base.files import file_digest
from routers.request import Matrix

FILE = "evidence.safetensors"
DIGEST_BYTES = 16
HELD_OUT = ("held_out", "posterior")
"""Optional arrays."""


class EvidenceError(Exception):
    """The evidence of a composition is missing or does not match the manifest."""


class NoEvidence(EvidenceError):
    """The composition was saved without evidence."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The n scored prompts of a fit.

    `embeddings` (n, dimension) and `scores` (n, experts; NaN where unscored) have float16 precision;
    `labels` (n,) index the composition's categories; `experts` names the columns of `scores`, including
    experts that a budget left out; cross-validated `held_out` (n, the composition's experts), expected scores
    under the policy, and `posterior` (n, categories); both None without folds.
    """

    embeddings: Matrix
    scores: Matrix
    labels: npt.NDArray[np.int64]
    prompt_digests: tuple[str, ...]
    experts: tuple[str, ...]
    held_out: Matrix | None = None
    posterior: Matrix | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def unseen(self, prompts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Mask of the prompts that are not training data, (len(prompts),)."""
        seen = set(self.prompt_digests)
        return np.asarray([prompt_digest(prompt) not in seen for prompt in prompts], dtype=np.bool_)

    def to_bytes(self) -> bytes:
        """The file's content."""
        from safetensors.numpy import save

        digests = b"".join(bytes.fromhex(each) for each in self.prompt_digests)
        arrays: dict[str, npt.NDArray[Any]] = {
            "embeddings": self.embeddings.astype(np.float16),
            "scores": self.scores.astype(np.float16),
            "labels": self.labels.astype(np.int32),
            "prompt_digests": np.frombuffer(digests, dtype=np.uint8).reshape(len(self), DIGEST_BYTES),
        }
        arrays |= {
            name: array.astype(np.float32) for name in HELD_OUT if (array := getattr(self, name)) is not None
        }
        return bytes(save(arrays, metadata={"experts": json.dumps(self.experts)}))


def prompt_digest(prompt: str) -> str:
    """The first 32 hexadecimal digits of the SHA-256 of the stripped text."""
    text = prompt.strip().encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[: 2 * DIGEST_BYTES]


def load_evidence(folder: Path) -> Evidence:
    """The evidence of the composition in `folder`. Raises EvidenceError, NoEvidence if it has none."""
    from safetensors import SafetensorError, safe_open

    path = folder / FILE
    try:
        manifest = json.loads((folder / "composition.json").read_text(encoding="utf-8"))
        expected = (manifest.get("evidence") or {}).get("sha256")
        if expected is None:
            raise NoEvidence(f"the composition in {folder} was saved without its evidence: fit it again")
        if file_digest(path) != expected:
            raise EvidenceError(f"{path} does not have the digest in composition.json: fit it again")
        with safe_open(path, framework="numpy") as file:
            digests = file.get_tensor("prompt_digests")
            return Evidence(
                embeddings=file.get_tensor("embeddings").astype(np.float32),
                scores=file.get_tensor("scores").astype(np.float32),
                labels=file.get_tensor("labels").astype(np.int64),
                prompt_digests=tuple(row.tobytes().hex() for row in digests),
                experts=tuple(json.loads(file.metadata()["experts"])),
                **{name: file.get_tensor(name) for name in HELD_OUT if name in file.keys()},  # noqa: SIM118
            )
    except FileNotFoundError as error:
        raise EvidenceError(f"{error.filename} is missing: fit the composition again") from error
    except (AttributeError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise EvidenceError(f"{path} is not the evidence of a composition: {error!r}") from error
