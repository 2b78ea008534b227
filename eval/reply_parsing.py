"""Extracts phrases, words, JSON and code from a reply; re-exports the parsers of `base.closed_answers`.

Knows nothing of which answer is correct.
"""

import json
import re
import textwrap
from typing import Any

from base.closed_answers import (
    MAX_REPLY_CHARS,
    bare,
    fenced_blocks,
    fold,
    normalise,
    read_choice,
    read_number,
    unfenced,
)
from base.json_documents import refuse_constant

__all__ = [
    "MAX_REPLY_CHARS",
    "bare",
    "code_candidates",
    "contains_phrase",
    "count_words",
    "fenced_blocks",
    "fold",
    "normalise",
    "read_choice",
    "read_number",
    "read_objects",
    "unfenced",
]

# Words

# Scripts written without spaces between words, so without word boundaries.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_UNSPACED_CHAR = re.compile(f"[{_UNSPACED}]")


def contains_phrase(reply: str, phrase: str, *, inflected: bool = False) -> bool:
    """Whether `reply` contains `phrase` as whole words, ignoring case and whitespace.

    `inflected` also accepts the endings -s, -es, -d, -ed and -ing, as "launch" in "launched".
    """
    wanted, text = fold(phrase), fold(reply)
    if not wanted:
        return False
    pattern = re.escape(wanted).replace(r"\ ", r"\s+")
    first, last = wanted[0], wanted[-1]
    if (first.isalnum() or first == "_") and not _UNSPACED_CHAR.match(first):
        pattern = r"(?<!\w)" + pattern
        if first.isdigit():
            pattern = r"(?<!\d[.,])" + pattern
    if (last.isalnum() or last == "_") and not _UNSPACED_CHAR.match(last):
        if inflected and last.isalpha():
            pattern += r"(?:s|es|d|ed|ing)?"
        pattern += r"(?!\w)"
        if last.isdigit():
            pattern += r"(?![.,]\d)"
    return re.search(pattern, text) is not None


def count_words(reply: str) -> int:
    """Whitespace-separated tokens with a letter or digit; each unspaced script's character counts."""
    total = 0
    for piece in normalise(reply).split():
        unspaced = len(_UNSPACED_CHAR.findall(piece))
        spaced = _UNSPACED_CHAR.split(piece) if unspaced else [piece]
        total += unspaced + sum(any(char.isalnum() for char in part) for part in spaced)
    return total


# JSON

_MAX_OBJECT_STARTS = 200


def read_objects(reply: str) -> list[dict[str, Any]]:
    """The outermost JSON objects of a reply in order, including those in code fences, prose and arrays."""
    decoder = json.JSONDecoder(parse_constant=refuse_constant)
    text, position, found = reply[:MAX_REPLY_CHARS], 0, []
    for _ in range(_MAX_OBJECT_STARTS):
        position = text.find("{", position)
        if position < 0:
            break
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            position += 1
            continue
        found.append(value)
        position = end
    return found


# Code

_PYTHON_TAGS = frozenset({"", "py", "python", "python3", "py3", "code"})
_CODE_LINE = re.compile(r"(?:async\s+def|def|class)\s+\w+|import\s+\w|from\s+[\w.]+\s+import\b|@\w")
_MAX_TRIMMED_LINES = 40


def code_candidates(reply: str) -> list[str]:
    """Candidate Python sources of a reply, most likely first; callers take the first that compiles.

    All fenced Python blocks joined, then each block; without a fence, the text from the first line that looks
    like code. Each is followed by its prefixes, since a reply may be truncated or end in prose.
    """
    text = reply[:MAX_REPLY_CHARS].replace("\r\n", "\n")
    blocks = fenced_blocks(text)
    wholes = [content for tag, content in blocks if tag in _PYTHON_TAGS]
    if len(wholes) > 1:
        wholes.insert(0, "\n".join(wholes))
    if not blocks:
        lines = text.replace("`", "").splitlines()
        start = next((i for i, line in enumerate(lines) if _CODE_LINE.match(line.strip())), None)
        if start is None:
            return []
        wholes = [textwrap.dedent("\n".join(lines[start:]))]
    candidates: list[str] = []
    for whole in wholes:
        candidates.append(whole)
    for whole in wholes:
        lines = whole.rstrip().splitlines()
        shortest = max(1, len(lines) - _MAX_TRIMMED_LINES)
        candidates.extend("\n".join(lines[:end]) for end in range(len(lines) - 1, shortest - 1, -1))
    return [candidate for candidate in dict.fromkeys(candidates) if candidate.strip()]
