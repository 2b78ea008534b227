"""What a composition was fitted on, kept beside it: for replays, plans and curves, not for serving.

`evidence.safetensors` is optional. Its digest stands in the manifest, and it is read and verified only
when somebody asks for it, so that a service neither loads nor needs it. It holds no text: prompts are
recognised by digest, which is enough to keep fitting data out of a report.
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


class EvidenceError(Exception):
    """There is no evidence beside a composition, or it is not the one that the manifest names."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The scored prompts of a fit, one row each.

    `embeddings` (n, dimension) and `scores` (n, experts; NaN where unscored) are float32 of float16
    precision; `labels` (n,) index the composition's categories; `prompt_digests` are in row order.
    `experts` names the columns of `scores`: all of the table, also those that a budget left out.
    `held_out` (n, the composition's experts) is what models fitted without the prompt's fold expected
    of each, None when nothing was held out.
    """

    embeddings: Matrix
    scores: Matrix
    labels: npt.NDArray[np.int64]
    prompt_digests: tuple[str, ...]
    experts: tuple[str, ...]
    held_out: Matrix | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def unseen(self, prompts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which of `prompts` were not fitted on, shape (len(prompts),)."""
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
        if self.held_out is not None:
            arrays["held_out"] = self.held_out.astype(np.float32)
        return bytes(save(arrays, metadata={"experts": json.dumps(self.experts)}))


def prompt_digest(prompt: str) -> str:
    """What recognises a prompt: 32 hexadecimal digits of its text without outer white space."""
    text = prompt.strip().encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[: 2 * DIGEST_BYTES]


def load_evidence(folder: Path) -> Evidence:
    """The evidence of the composition in `folder`.

    Raises EvidenceError when there is none or it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / FILE
    try:
        manifest = json.loads((folder / "composition.json").read_text(encoding="utf-8"))
        expected = (manifest.get("evidence") or {}).get("sha256")
        if expected is None:
            raise EvidenceError(f"the composition in {folder} was saved without its evidence: fit it again")
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
                held_out=file.get_tensor("held_out") if "held_out" in file.keys() else None,  # noqa: SIM118
            )
    except FileNotFoundError as error:
        raise EvidenceError(f"{error.filename} is missing: fit the composition again") from error
    except (AttributeError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise EvidenceError(f"{path} is not the evidence of a composition: {error!r}") from error
