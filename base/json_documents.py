"""JSON that every reader takes: Python reads and writes `NaN` and `Infinity`, which no other reader knows.

What is not defined is None.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import orjson

from base.files import write_text

LONG_NUMBER = re.compile(rb"\d{20}")
"""In JSON: perhaps an integer of more than 64 bits, which orjson reads as a float."""


class DocumentError(ValueError):
    """A document holds what JSON cannot say; the message says where."""


def json_text(document: Any) -> str:
    """`document` as indented JSON. Raises DocumentError when a figure in it is NaN or infinite."""
    try:
        return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        place = _no_number(document) or "a figure"
        raise DocumentError(f"{place} is no number, which JSON cannot say: nothing written") from error


def write_json(document: Any, path: Path) -> None:
    """Write `document` in one step. Raises DocumentError, and then the old file stays."""
    write_text(json_text(document) + "\n", path)


def refuse_constant(name: str) -> NoReturn:
    """For `parse_constant` of Python's readers: raises DocumentError for `NaN` and `Infinity`."""
    raise DocumentError(f"{name} is not JSON")


def json_digest(document: Any) -> str:
    """SHA-256 of `document`, whatever the order of its keys. Halves of surrogate pairs count too."""
    canonical = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


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


def json_bytes(value: Any) -> bytes:
    """Compact UTF-8, for what is sent and stored. Half a surrogate pair becomes `?`. Raises TypeError,
    ValueError."""
    try:
        return orjson.dumps(value)
    except TypeError:  # half a surrogate pair, an integer of more than 64 bits, a key that is no text
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
