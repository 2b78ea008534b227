"""On-disk cache of a fit's long steps, keyed by the digest of their inputs, so that a fit can resume."""

import hashlib
import io
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from base.files import replacing

VERSION = 4
"""Version of the fitting code; part of every key."""

Arrays = Mapping[str, npt.NDArray[Any]]
Step = Callable[[str, int, int], None]
"""Progress callback: (name of the step, steps done, steps in total)."""


def no_step(what: str, done: int, total: int) -> None:
    """Ignores progress."""


@dataclass(frozen=True, slots=True)
class StageCache:
    """`folder` None disables the cache."""

    folder: Path | None = None
    step: Step = no_step

    def cached(self, name: str, inputs: tuple[object, ...], compute: Callable[[], Arrays]) -> Arrays:
        """`compute()`, or its stored result for the same `inputs` (arrays by content)."""
        if self.folder is None:
            return compute()
        path = self.folder / f"{name}-{digest(name, *inputs)[:32]}.npz"
        kept = _read(path)
        if kept is not None:
            return kept
        made = compute()
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **made)
        return made


def digest(*inputs: object) -> str:
    """SHA-256 over arrays (dtype, shape, bytes) and the `repr` of everything else."""
    total = hashlib.sha256(repr(VERSION).encode())
    for each in inputs:
        if isinstance(each, np.ndarray):
            total.update(f"{each.dtype}{each.shape}".encode())
            total.update(np.ascontiguousarray(each).tobytes())
        else:
            total.update(repr(each).encode("utf-8", "surrogatepass"))
        total.update(b"\0")
    return total.hexdigest()


def _read(path: Path) -> Arrays | None:
    """The stored arrays, None when missing or damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error):
        return None
