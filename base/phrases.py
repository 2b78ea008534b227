"""Words and phrases found in text of any script, also where no blanks stand between words.

Chinese, Japanese, Thai, Lao, Khmer, Burmese and their like have no edges to look for: a phrase of theirs is
found wherever it stands, and they end a word of another script beside them. In all other scripts a phrase is
found as whole words; in Korean its particles may follow.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from base.text_folding import fold

# fmt: off
_RANGES = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1950, 0x19FF), (0x1A20, 0x1AAF),
    (0x1B00, 0x1B7F), (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3031, 0x303B),
    (0x3040, 0x312F), (0x31A0, 0x31BF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0xA4CF),
    (0xA980, 0xA9FF), (0xAA60, 0xAADF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x1B000, 0x1B16F),
    (0x20000, 0x323AF),
)
# fmt: on
UNSPACED = "".join(f"{chr(first)}-{chr(last)}" for first, last in _RANGES)
"""Scripts written without blanks between words, for a character class: Thai and Lao, Burmese, Khmer, Tai,
Javanese and Balinese, Chinese, Japanese, Yi."""
HANGUL = "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"
LATIN = (
    "a-zA-Z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u1e00-\u1eff\u2c60-\u2c7f"
    "\ua720-\ua7ff\uab30-\uab69"
)

WORD = rf"[^\W{UNSPACED}{HANGUL}]"
"""A letter, digit or underscore that words of scripts with blanks are made of."""
NO_WORD_BEFORE, NO_WORD_AFTER = f"(?<!{WORD})", f"(?!{WORD})"

MAX_MATCHES = 100_000
"""Places of a text at which one phrase is looked at."""

_IN_UNSPACED = re.compile(f"[{UNSPACED}]")
_IN_HANGUL = re.compile(f"[{HANGUL}]")
_PART = re.compile(f"[{UNSPACED}]|[^{UNSPACED}]+")
# A vowel written before the consonant that it belongs to; a sign that stacks the next consonant.
_INSIDE_SYLLABLE = "\u0e40-\u0e44\u0ec0-\u0ec4\u17d2\u1039\u1a60\ua9c0\u1b44"
# What follows a Korean noun in one word: particles, the copula, and the verbs made of nouns.
_KOREAN_ENDING = (
    r"(?=(?:들|님|씨)?(?:은|는|이|가|을|를|의|에|에서|에게|께|께서|한테|와|과|하고|랑|이랑|도|만|로|으로|부터|까지|처럼|보다"
    r"|마다|밖에|조차|마저|이나|나|이라|라|이란|란|이라고|라고|이라는|라는|이며|이고|이면|이요|요|이야|야|이다|다|이네|네"
    r"|임|인|인가|인가요|인지|이지|이죠|죠|이에요|예요|였|이었|입니다|입니까|일)?(?:서|는|도|만|의|요|로|은|을|를)?"
    rf"(?![\w{HANGUL}])|하|해|했|할|한|함|합|되|돼|됐|된|될|됨|됩|받|시키|시켜|중|입니|이에|이었|였)"
)
# Vowel points that Arabic and Hebrew may be written with or without, and Arabic's lengthening stroke.
_OPTIONAL = re.compile(
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670]"
)


def folded_text(text: str) -> str:
    """The whole of `text` as phrases are looked for in it."""
    text = fold(text, None)
    if text.isascii():
        return text
    # Turkish: `İ` folds to an i with a dot above, and `I` to i rather than ı.
    return _OPTIONAL.sub("", text).replace("i\u0307", "i").replace("ı", "i")


class Keywords:
    """Words and phrases to be found in texts that `folded_text` gave."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self._phrases = tuple(
            (each, _before(each[0], bare=False), _after(each[-1], bare=False))
            for each in dict.fromkeys(map(folded_text, phrases))
            if each
        )

    def found_in(self, folded: str) -> bool:
        """Whether one of them stands in the text as whole words."""
        return any(_occurs(folded, *phrase) for phrase in self._phrases)


def contains_phrase(text: str, phrase: str, *, inflected: bool = False) -> bool:
    """Whether `text` contains `phrase` as whole words, ignoring case and whitespace; a number is no part of
    another.

    `inflected` also accepts the endings -s, -es, -d, -ed and -ing, as "launch" in "launched".
    """
    wanted = folded_text(phrase)
    if not wanted:
        return False
    before, after = _before(wanted[0], bare=True), _after(wanted[-1], bare=True, inflected=inflected)
    return _occurs(folded_text(text), wanted, before, after)


def words(text: str) -> list[str]:
    """The words of `text`, at its blanks; of a script without blanks each character stands for one."""
    found: list[str] = []
    for piece in text.split():
        if _IN_UNSPACED.search(piece):
            found += (part for part in _PART.findall(piece) if any(map(str.isalnum, part)))
        else:
            found.append(piece)
    return found


def count_words(text: str) -> int:
    """The words of `text` that have a letter or digit; each character of a script without blanks counts."""
    return sum(any(map(str.isalnum, word)) for word in words(fold(text)))


def _occurs(text: str, phrase: str, before: re.Pattern[str], after: re.Pattern[str]) -> bool:
    start = -1
    for _ in range(MAX_MATCHES):
        start = text.find(phrase, start + 1)
        if start < 0:
            return False
        if before.match(text, start) and after.match(text, start + len(phrase)):
            return True
    return False


@lru_cache(maxsize=1024)
def _before(first: str, *, bare: bool) -> re.Pattern[str]:
    """What must hold before a phrase that begins with `first`. `bare`: a mark needs no edge, and numbers
    are whole."""
    if _IN_UNSPACED.match(first):
        return _compiled(f"(?<![{_INSIDE_SYLLABLE}])")
    if _IN_HANGUL.match(first):
        return _compiled(f"(?<![{HANGUL}])")
    neighbours = _neighbours(first, bare)
    pattern = f"(?<!{neighbours})(?<![{_marks(unspaced=False)}])" if neighbours else ""
    return _compiled(pattern + (r"(?<!\d[.,])" if bare and first.isdigit() else ""))


@lru_cache(maxsize=1024)
def _after(last: str, *, bare: bool, inflected: bool = False) -> re.Pattern[str]:
    """The same after one that ends with `last`."""
    whole = f"(?![{_marks(unspaced=True)}])"
    if _IN_UNSPACED.match(last):
        return _compiled(whole)
    if _IN_HANGUL.match(last):
        return _compiled(whole + _KOREAN_ENDING)
    neighbours = _neighbours(last, bare)
    # "don" is no word of "don't".
    pattern = f"(?!{neighbours}){whole}(?!'t(?!\\w))" if neighbours else ""
    if inflected and last.isalpha():
        pattern = f"(?:s|es|d|ed|ing)?{pattern}"
    return _compiled(pattern + (r"(?![.,]\d)" if bare and last.isdigit() else ""))


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _neighbours(edge: str, bare: bool) -> str:
    """The characters beside which `edge` is inside a word; "" when there are none."""
    if re.match(f"[{LATIN}]", edge):
        return rf"[{LATIN}\d_]"
    if edge.isdigit() or edge == "_":
        return WORD
    if edge.isalnum() or unicodedata.category(edge).startswith("M"):
        return rf"[^\W{UNSPACED}{HANGUL}{LATIN}]"
    # An emoji is a word by itself; of ".net" and "c++" the mark belongs to the word.
    return "" if bare or not edge.isascii() else WORD


@lru_cache(maxsize=2)
def _marks(*, unspaced: bool) -> str:
    """Every combining mark, as ranges for a character class; `unspaced`: those of scripts without blanks
    too."""
    ranges: list[list[int]] = []
    for code in (*range(0x300, 0x1E94B), *range(0xE0100, 0xE01F0)):
        character = chr(code)
        if unicodedata.category(character)[0] != "M" or (not unspaced and _IN_UNSPACED.match(character)):
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
