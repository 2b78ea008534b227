"""Files that evaluation writes: whole or not at all, and JSON that every reader takes.

Python writes `NaN` where a figure is no number, which no other reader of JSON knows; here that is an error
that names the figure. What is not defined is None.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class DocumentError(ValueError):
    """A document holds what JSON cannot say; the message says where."""


def json_text(document: Any) -> str:
    """`document` as indented JSON. Raises DocumentError when a figure in it is NaN or infinite."""
    try:
        return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        place = _no_number(document) or "a figure"
        raise DocumentError(f"{place} is no number, which JSON cannot say: nothing written") from error


def write_json(document: Mapping[str, Any], path: Path) -> None:
    """Write `document` as `write_text` does. Raises DocumentError, and then the old file stays."""
    write_text(json_text(document) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write `text` in one step: a reader sees the old file or the new one. Makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def _no_number(document: Any, place: str = "") -> str | None:
    """Where the first figure is that JSON cannot say, as `rows.3.score`."""
    if isinstance(document, float):
        return None if math.isfinite(document) else place
    if isinstance(document, Mapping):
        parts = list(document.items())
    elif isinstance(document, list | tuple):
        parts = list(enumerate(document))
    else:
        return None
    found = (_no_number(part, f"{place}.{name}" if place else str(name)) for name, part in parts)
    return next((each for each in found if each is not None), None)
