"""Topic-independent surface features of a prompt: length, options, numbers, code, punctuation, wording.

They tell apart kinds of task (multiple choice, puzzles, code), by which experts differ more than by topic.
Counts are log(1 + n) and shares and flags 0..1; an ordinary prompt takes under 0.1 ms.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from routers.request import Vector

MARKS = "$\\^={}()[]<>_\"',?.;|%`#/:!*+-&@~"
"""Characters that are counted separately."""
WORDS = (
    " not ", " except", "which of the following", "statement", "how many", "how much", "what is", "find ",
    "calculate", "determine", "why", "how ", "write", "function", "explain", "true", "false", "prove",
    "sum", "probability", "integer", "suppose", "best", "most", "create", "code", "example", "list",
    "please", "according", "because", "should", "who ", "where ", "when ", "convert", "value", "equation",
    "year", "cost", "percent", "compare", "script", "python", "sql", "debug", "error", "step", "story",
    "game", "translate", "summar", "table",
)  # fmt: skip
"""Phrases whose presence is a feature; matched in lower case."""
SHAPE = (
    "characters", "stem_characters", "words", "lines", "paragraphs",
    "options", "options_four", "options_ten", "options_none", "option_mean", "option_longest",
    "option_spread", "options_with_digits", "options_numeric",
    "numbers", "largest_number", "first_number", "decimals", "share_digits", "share_capitals",
    "share_non_ascii", "share_punctuation",
    "asks_at_end", "stem_asks", "stem_ends_in_colon", "stem_ends_in_word", "starts_small", "starts_blank",
    "word_length", "distinct_words",
    "code_definitions", "code_for", "code_while", "code_if", "code_calls", "latex_commands",
    "numbered_lines", "bulleted_lines", "there_are", "each_person", "the", "first_person", "second_person",
)  # fmt: skip
NAMES = (
    *SHAPE,
    *(f"mark_{mark}" for mark in MARKS),
    *(f"says_{word.strip().replace(' ', '_')}" for word in WORDS),
)
"""Names of the features, in order."""
COUNT = len(NAMES)

_MARKS = np.frombuffer(MARKS.encode("ascii"), dtype=np.uint8)
_OPTION = re.compile(r"^[ \t]*\(?[A-Z][.):][ \t]", re.MULTILINE)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_DIGIT = re.compile(r"\d")
_NUMERIC = re.compile(r"[\s$\\{}()^*/+\-−.,=<>a-zA-Z%°]{0,12}\d[\d.,]*[^\n]{0,15}")
_NUMBERED = re.compile(r"^[ \t]*\d{1,3}[.)][ \t]", re.MULTILINE)
_BULLETED = re.compile(r"^[ \t]*[-*•][ \t]", re.MULTILINE)
_LATEX = re.compile(r"\\[a-zA-Z]+")
_THERE_ARE = re.compile(r"\bthere are (\d{1,6})\b")
_MOST_OPTIONS, _MOST_NUMBERS = 26, 200


LEAST_OPTIONS = 3
"""Lines with a letter and a point, colon or bracket that make a prompt multiple choice."""


def is_multiple_choice(text: str) -> bool:
    """Whether `text` lists options to choose from, each on a line of its own after a letter."""
    return sum(1 for _ in _OPTION.finditer(text)) >= LEAST_OPTIONS


def format_part(text: str) -> Vector:
    """The features of `text`, shape (COUNT,), float32."""
    low = text.lower()
    raw = np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8)
    per_byte = np.bincount(raw, minlength=256)
    vector = np.empty(COUNT, dtype=np.float32)
    shape = vector[: len(SHAPE)]
    shape[:] = _shape(text, low, per_byte)
    marks = per_byte[_MARKS]
    np.log1p(marks, out=vector[len(SHAPE) : len(SHAPE) + len(MARKS)], casting="same_kind")
    vector[len(SHAPE) + len(MARKS) :] = [word in low for word in WORDS]
    return vector


def _shape(text: str, low: str, per_byte: npt.NDArray[np.int64]) -> list[float]:
    starts = [found.span() for found in _OPTION.finditer(text)][:_MOST_OPTIONS]
    stem = text[: starts[0][0]] if starts else text
    ends = [*(start for start, _ in starts[1:]), len(text)]
    options = (
        [text[after:end].strip() for (_, after), end in zip(starts, ends, strict=True)] if starts else []
    )
    lengths = [len(option) for option in options] or [0]
    numbers = [float(number[:15]) for number in _NUMBER.findall(stem)[:_MOST_NUMBERS]]
    words = low.split()
    total = max(len(text), 1)
    capitals, digits = int(per_byte[65:91].sum()), int(per_byte[48:58].sum())
    # UTF-8 continues a character with bytes of 128..191; the others above begin one.
    beyond = int(per_byte[192:].sum())
    letters = capitals + int(per_byte[97:123].sum())
    blank = int(per_byte[[9, 10, 13, 32]].sum())
    stem_end = stem.rstrip()[-1:]
    there_are = _THERE_ARE.search(low)
    counts = [
        len(text), len(stem), len(words), int(per_byte[10]), text.count("\n\n"),
    ]  # fmt: skip
    lengths_log = np.log1p([sum(lengths) / len(lengths), max(lengths), min(lengths)])
    code = [
        low.count("def ") + low.count("return ") + low.count("class "),
        low.count("for "),
        low.count("while "),
        low.count("if "),
        low.count("lambda") + low.count("append") + low.count("import ") + low.count("print("),
        len(_LATEX.findall(text)) if per_byte[92] else 0,
        len(_NUMBERED.findall(text)),
        len(_BULLETED.findall(text)),
    ]
    wording = [
        low.count("each person") + low.count("people have") + low.count("clue"),
        low.count(" the "),
        low.count(" i ") + low.count(" my "),
        low.count(" you ") + low.count(" your "),
    ]
    logs = np.log1p([*counts, len(numbers), max(numbers, default=0), numbers[0] if numbers else 0])
    code_logs, wording_logs = np.log1p(code), np.log1p(wording)
    return [
        *logs[:5],
        float(len(options)), float(len(options) == 4), float(len(options) == 10), float(not options),
        lengths_log[0], lengths_log[1], lengths_log[1] - lengths_log[2],
        _share(options, _DIGIT.search), _share(options, _NUMERIC.fullmatch),
        logs[5], logs[6], logs[7], float(any(number % 1 for number in numbers)),
        digits / total, capitals / total, beyond / total,
        max(total - letters - digits - blank - beyond, 0) / total,
        float(text.rstrip().endswith("?")), float(stem_end == "?"), float(stem_end == ":"),
        float(stem_end.isalnum()), float(text[:1].islower()), float(text[:1].isspace()),
        sum(map(len, words)) / max(len(words), 1), len(set(words)) / max(len(words), 1),
        *code_logs,
        min(float(there_are[1]), 20.0) if there_are else 0.0,
        *wording_logs,
    ]  # fmt: skip


def _share(options: Sequence[str], test: Callable[[str], object]) -> float:
    if not options:
        return 0.0
    return sum(test(option) is not None for option in options) / len(options)
