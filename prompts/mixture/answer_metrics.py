"""Named metrics: how well an answer agrees with a demo's output, 0 or 1.

Log-likelihood, which the paper uses for some tasks, cannot be had through chat. All metrics are binary, so
that means are shares and have binomial intervals. An empty answer is always wrong.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Literal

Metric = Callable[[str, str], float]
"""(answer, expected) → 1.0 when they agree, else 0.0."""
MetricName = Literal["exact", "verbatim", "contains", "choice", "numeric"]

_LABEL = re.compile(r"^(?:the\s+)?(?:final\s+)?(?:answer|output|result)\s*(?:is\s*:?|:)\s*", re.IGNORECASE)
_EDGES = " \t\r\n\"'`*“”‘’«».,;:!?"
_NUMBER = re.compile(r"(?<![\w.])[-−+]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![\w.])[-−+]?\.\d+")
_SAID_LETTER = re.compile(
    r"\b(?i:answer|option|choice)\b\W*(?i:is\b|would be\b)?\W*?"
    r"(?:\(([A-Za-z])\)|([A-Za-z])(?=[*_)]*\s*(?:$|[.:,;!\n]))|([B-HJ-Z])(?![\w'’]))"
)
"""A single `a` or `I` before another word is a word."""
_FIRST_LETTER = re.compile(r"^\W*([A-Za-z])(?:\W*$|\s*[).:,\n\-–—])")
_BRACKETED = re.compile(r"\(([A-Za-z])\)")


def normalise(text: str) -> str:
    """Text without what nobody means: case, Unicode forms, runs of blanks, quotes and stops at the ends,
    "Answer:" in front."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    stripped = folded.strip(_EDGES)
    return _LABEL.sub("", stripped).strip(_EDGES) or stripped or folded


def exact(answer: str, expected: str) -> float:
    """Equal after normalisation."""
    return float(bool(answer.strip()) and normalise(answer) == normalise(expected))


def verbatim(answer: str, expected: str) -> float:
    """Equal but for blanks at the ends: where case, stops or lines are what the task is about."""
    return float(answer.strip() == expected.strip() != "")


def contains(answer: str, expected: str) -> float:
    """The answer has the expected text in it, as whole words. An answer that lists everything is right
    too: take it where answers are free text."""
    wanted = normalise(expected)
    if not answer.strip() or not wanted:
        return 0.0
    return float(bool(re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", normalise(answer))))


def choice(answer: str, expected: str) -> float:
    """The letter of a multiple choice question: said ("the answer is B"), in front ("B) ..."), or the only
    one in brackets."""
    wanted = letter(expected)
    return float(wanted is not None and letter(answer) == wanted)


def letter(text: str) -> str | None:
    """The letter that an answer to a multiple choice question gives, upper case; None without one."""
    said = _SAID_LETTER.findall(text)
    if said:
        return "".join(said[-1]).upper()
    if (first := _FIRST_LETTER.match(text)) is not None:
        return first.group(1).upper()
    bracketed = {found.upper() for found in _BRACKETED.findall(text)}
    return bracketed.pop() if len(bracketed) == 1 else None


def numeric(answer: str, expected: str) -> float:
    """The last number of the answer equals the expected one, whatever its separators and zeros."""
    wanted, given = last_number(expected), last_number(answer)
    return float(wanted is not None and given == wanted)


def last_number(text: str) -> Decimal | None:
    """The last number in decimal notation; None without one."""
    found = _NUMBER.findall(text)
    if not found:
        return None
    try:
        return Decimal(found[-1].replace(",", "").replace("−", "-"))
    except InvalidOperation:
        return None


METRICS: Mapping[MetricName, Metric] = MappingProxyType(
    {"exact": exact, "verbatim": verbatim, "contains": contains, "choice": choice, "numeric": numeric}
)
