"""Question sets that are downloaded from upstream once, verified by pinned SHA-256 and cached."""

import hashlib
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from base.cache_folder import cache_folder
from base.files import write_bytes
from eval.errors import EvalError

TIMEOUT_S = 60.0
LARGEST = 64 * 1024**2
"""Maximum size of a file, bytes."""


class SourceError(EvalError):
    """A download failed or its digest differs; the message says what to do."""


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One upstream file at one commit: `path` in the cache folder, URL and SHA-256."""

    path: str
    url: str
    sha256: str


def fetch(name: str, sources: Sequence[PinnedFile], cache: Path | None = None) -> Path:
    """The cache folder with all `sources`; downloads missing ones. Raises SourceError."""
    folder = (cache or cache_folder()) / "benchmarks" / name
    for source in sources:
        target = folder / source.path
        if target.is_file() and _sha256(target.read_bytes()) == source.sha256:
            continue
        content = _get(name, source)
        if _sha256(content) != source.sha256:
            raise SourceError(
                f"{source.url} is not the file that was pinned (SHA-256 {_sha256(content)}, "
                f"expected {source.sha256}); get it elsewhere and name its folder with --data"
            )
        write_bytes(content, target)
    return folder


def _get(name: str, source: PinnedFile) -> bytes:
    try:
        with urllib.request.urlopen(source.url, timeout=TIMEOUT_S) as response:
            content = response.read(LARGEST + 1)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise SourceError(
            f"cannot fetch {source.url} ({error}). The questions of {name} are not ours to ship: give a "
            "folder that has them with --data, or `--data own` for our small set"
        ) from error
    if len(content) > LARGEST:
        raise SourceError(f"{source.url} is larger than {LARGEST} bytes")
    return bytes(content)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
