"""Logs of supervised processes: one file per start, older ones numbered."""

import itertools
from pathlib import Path
from typing import BinaryIO

TAIL_BYTES = 32_768


def open_log(path: Path, *, kept: int) -> BinaryIO:
    """Open a new log at `path` after rotating `path` → `path.1` → `path.2` ..., at most `kept`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbered = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, kept + 1))]
    numbered[-1].unlink(missing_ok=True)
    for newer, older in reversed(list(itertools.pairwise(numbered))):
        if newer.exists():
            newer.rename(older)
    return path.open("wb")


def tail(path: Path, size: int = TAIL_BYTES) -> str:
    """The last `size` bytes of a log as text, from the start of a line."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(0, end - size))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return text if end <= size else text.partition("\n")[2]
