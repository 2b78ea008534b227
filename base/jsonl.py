"""JSON lines: one object a line, in UTF-8. Errors name the file and the line."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from base.text_files import TextFileError, decoded_text

_LINE_END = re.compile(r"\r\n?|\n")


class JsonlError(ValueError):
    """The file cannot be read, or a line of it is no JSON object; the text begins with `file:line:`."""


def read_lines(path: Path, *, unfinished: bool = False) -> list[tuple[str, str]]:
    """The lines of `path` that are not blank, each with its place, `file:line`. Byte order marks go, also
    those that concatenated files leave. `unfinished`: without a line feed the last line counts as not
    written. Raises JsonlError."""
    try:
        content = path.read_bytes()
        if unfinished:
            content = content[: content.rfind(b"\n") + 1]
        text = decoded_text(content, path)
    except OSError as error:
        raise JsonlError(f"{path}: cannot be read: {error.strerror}") from error
    except TextFileError as error:
        raise JsonlError(str(error)) from error
    # Not `splitlines`: JSON strings may hold U+2028 and its like unescaped.
    lines = (line.removeprefix("\ufeff") for line in _LINE_END.split(text))
    return [(f"{path}:{number}", line) for number, line in enumerate(lines, start=1) if line.strip()]


def parse_row(line: str, place: str) -> dict[str, Any]:
    """The object of one line. Raises JsonlError, also for a key that is written twice."""
    try:
        row: Any = json.loads(line, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise JsonlError(f"{place}: is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise JsonlError(f"{place}: must be an object")
    return row


def read_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The objects of `path`, each with its place, `file:line`. Raises JsonlError."""
    return [(place, parse_row(line, place)) for place, line in read_lines(path)]


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return found
