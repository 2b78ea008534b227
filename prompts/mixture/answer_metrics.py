"""Binary metrics of an answer against a demo's output, so that means have binomial intervals. An empty answer
is wrong. (The paper's log-likelihood is not available through chat APIs.)"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Literal

Metric = Callable[[str, str], float]
"""(answer, expected) → 1.0 or 0.0."""
MetricName = Literal["exact", "verbatim", "contains", "choice", "numeric"]

_LABEL = re.compile(r"^(?:the\s+)?(?:final\s+)?(?:answer|output|result)\s*(?:is\s*:?|:)\s*", re.IGNORECASE)
_EDGES = " \t\r\n\"'`*“”‘’«».,;:!?"
_NUMBER = re.compile(r"(?<![\w.])[-−+]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![\w.])[-−+]?\.\d+")
_SAID_LETTER = re.compile(
    r"\b(?i:answer|option|choice)\b\W*(?i:is\b|would be\b)?\W*?"
    r"(?:\(([A-Za-z])\)|([A-Za-z])(?=[*_)]*\s*(?:$|[.:,;!\n]))|([B-HJ-Z])(?![\w'’]))"
)
"""`a` and `I` before another word are words, not letters."""
_FIRST_LETTER = re.compile(r"^\W*([A-Za-z])(?:\W*$|\s*[).:,\n\-–—])")
_BRACKETED = re.compile(r"\(([A-Za-z])\)")


def normalise(text: str) -> str:
    """Text after NFKC and case folding, with single blanks, without quotes and punctuation at the ends and
    without a leading "Answer:"."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    stripped = folded.strip(_EDGES)
    return _LABEL.sub("", stripped).strip(_EDGES) or stripped or folded


def exact(answer: str, expected: str) -> float:
    """Equal after normalisation."""
    return float(bool(answer.strip()) and normalise(answer) == normalise(expected))


def verbatim(answer: str, expected: str) -> float:
    """Equal after stripping: for tasks about case, punctuation or lines."""
    return float(answer.strip() == expected.strip() != "")


def contains(answer: str, expected: str) -> float:
    """The normalised answer contains the expected text as whole words (so a list of all answers is right)."""
    wanted = normalise(expected)
    if not answer.strip() or not wanted:
        return 0.0
    return float(bool(re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", normalise(answer))))


def choice(answer: str, expected: str) -> float:
    """The letter of a multiple choice question, as `letter` finds it."""
    wanted = letter(expected)
    return float(wanted is not None and letter(answer) == wanted)


def letter(text: str) -> str | None:
    """The chosen letter, upper case: stated ("the answer is B"), leading ("B) ...") or the only one in
    brackets; None without one."""
    said = _SAID_LETTER.findall(text)
    if said:
        return "".join(said[-1]).upper()
    if (first := _FIRST_LETTER.match(text)) is not None:
        return first.group(1).upper()
    bracketed = {found.upper() for found in _BRACKETED.findall(text)}
    return bracketed.pop() if len(bracketed) == 1 else None


def numeric(answer: str, expected: str) -> float:
    """The last number of the answer equals the expected one, regardless of separators and zeros."""
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
