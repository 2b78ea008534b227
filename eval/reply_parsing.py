"""Extracts JSON and code from a reply; re-exports the readers of `base` for phrases and closed answers.

Knows nothing of which answer is correct.
"""

import json
import re
import textwrap
from typing import Any

from base.closed_answers import bare, read_choice, read_named, read_number
from base.json_documents import refuse_constant
from base.phrases import contains_phrase, count_words
from base.reply_text import fenced_blocks, own_text, unfenced
from base.text_folding import MAX_REPLY_CHARS, fold, normalise

__all__ = [
    "MAX_REPLY_CHARS",
    "bare",
    "code_candidates",
    "contains_phrase",
    "count_words",
    "fenced_blocks",
    "find_objects",
    "fold",
    "normalise",
    "own_text",
    "read_choice",
    "read_named",
    "read_number",
    "read_objects",
    "unfenced",
]

# JSON

_MAX_OBJECT_STARTS = 200


def read_objects(reply: str) -> list[dict[str, Any]]:
    """The outermost JSON objects of a reply in order, including those in code fences, prose and arrays."""
    return [value for _, _, value in find_objects(reply)]


def find_objects(reply: str, *, strict: bool = True) -> list[tuple[int, int, dict[str, Any]]]:
    """The same with where each begins and ends; unless `strict`, strings may hold raw line ends."""
    decoder = json.JSONDecoder(parse_constant=refuse_constant, strict=strict)
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
        found.append((position, end, value))
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
        lines = text.replace("`", "").split("\n")
        start = next((i for i, line in enumerate(lines) if _CODE_LINE.match(line.strip())), None)
        if start is None:
            return []
        wholes = [textwrap.dedent("\n".join(lines[start:]))]
    candidates: list[str] = []
    for whole in wholes:
        candidates.append(whole)
    for whole in wholes:
        lines = whole.rstrip().split("\n")
        shortest = max(1, len(lines) - _MAX_TRIMMED_LINES)
        candidates.extend("\n".join(lines[:end]) for end in range(len(lines) - 1, shortest - 1, -1))
    return [candidate for candidate in dict.fromkeys(candidates) if candidate.strip()]
