"""Results of long steps, kept on disk by the digest of what went in: an interrupted fit resumes."""

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

VERSION = 3
"""Of the fitting code: a change makes older results unusable."""

Arrays = Mapping[str, npt.NDArray[Any]]
Step = Callable[[str, int, int], None]
"""Told (what is being done, steps done, steps in all)."""


def no_step(what: str, done: int, total: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class Stages:
    """`folder` None keeps nothing."""

    folder: Path | None = None
    step: Step = no_step

    def once(self, name: str, inputs: tuple[object, ...], compute: Callable[[], Arrays]) -> Arrays:
        """`compute()`, or what it gave for the same `inputs` before. Arrays count by their content."""
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
    """SHA-256 over arrays (type, shape, bytes) and anything else by its `repr`."""
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
    """The kept arrays, None when there are none or the file is damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error):
        return None
