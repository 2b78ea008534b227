"""Reading a closed answer out of a reply as models, small ones above all, really talk: a number, an
option's letter, a few words, in any language.

Each reader takes the text of one reply and returns what it found, or None. It knows nothing of which
answer is right, so that a reply is never read towards it. Checks, votes and the metrics of mixtures read by
the same rules.
"""

import re
import unicodedata
from collections.abc import Sequence
from fractions import Fraction

from base.answer_wording import (
    ADJECTIVE,
    ANSWER,
    ARTICLE,
    CHOSEN,
    DENIED,
    ENDING,
    IS,
    IT_IS,
    LABEL,
    NOT,
    OPTION,
    RECONSIDERED,
    RIGHT,
)
from base.phrases import HANGUL, LATIN, UNSPACED, WORD
from base.reply_text import boxed, own_text, plain_latex, unboxed, unfenced
from base.text_folding import fold, normalise

_GAP = rf"(?:(?!{NOT}|{ANSWER})[^\n.,;:!?。、।؟]){{0,40}}?"
"""What a sentence may say between "answer" and "is". A second "answer" begins anew, so that no text is read
forty times."""
_LEAD = r"[\s*_$(\[{\"'`<>~≈「『【《〈€£¥\\]{0,12}"
_RECONSIDERED = re.compile(RECONSIDERED, re.IGNORECASE)


def _after_correction(text: str) -> str:
    """What follows the last "wait" or "actually"; "" where nothing is taken back."""
    marks = list(_RECONSIDERED.finditer(text))
    return text[marks[-1].end() :] if marks else ""


# Numbers

# A sign counts only where no word or number ends just before it: "3-5" holds 3 and 5.
_SIGN = rf"(?:(?<!{WORD})(?<![.)\]])[-+])?"
_WHOLE_OR_DECIMAL = (
    r"(?:\d{1,3}(?:\.\d{3}){1,20},\d+"  # 1.204,50
    r"|\d{1,3}(?:\.\d{3}){2,20}(?![\d,]|\.\d)"  # 1.204.500
    r"|\d{1,3}(?:[,']\d{3}(?!\d)){1,20}(?:\.\d+)?"  # 1,204.50
    r"|\d{1,2}(?:,\d{2}){1,20},\d{3}(?!\d)(?:\.\d+)?"  # 12,04,500
    r"|(?<![\d.,])\d{1,3}(?: \d{3}){1,20}(?!\d)(?:[.,]\d+)?"  # 1 204,50
    r"|\d+(?:[.,]\d+)?|(?<![\d.,])\.\d+)"
)
_QUOTIENT = r"(?<![\d.,/])(?:\d{1,3} )?\d+(?:\.\d+)?\s?/\s?\d+(?:\.\d+)?(?![\d/]|\.\d|\s?/)"
_EXPONENT = (
    r"(?:[eE][-+]?\d{1,3}\b|(?<=(?<!\d)10)\s?\^\s?\{?[-+]?\d{1,3}\}?"
    r"|\s?[x×*·]\s?10\s?\^\s?\{?[-+]?\d{1,3}\}?)"
)
_TIMES = {"万": 10**4, "萬": 10**4, "만": 10**4, "亿": 10**8, "億": 10**8, "억": 10**8}
_MYRIADS = rf"\s?[{''.join(_TIMES)}](?:\s?\d[\d,]*\s?[{''.join(_TIMES)}])?(?:\d{{1,4}}(?!\d))?"
_NUMBER = rf"{_SIGN}(?:{_QUOTIENT}|{_WHOLE_OR_DECIMAL}(?:{_EXPONENT}|{_MYRIADS})?)"
_NUMBER_RE = re.compile(_NUMBER)
_SAID = re.compile(
    rf"(?:{ANSWER}(?:{_GAP}{IS}|[*_\"'`>]{{0,4}}\s{{0,3}}[:=]|】)(?:\s{{0,3}}(?:{IS}|[:=])){{0,2}}"
    rf"(?:\s(?:about|approximately|etwa|environ|约|約))?|####){_LEAD}({_NUMBER})",
    re.IGNORECASE,
)
_DENIED_NUMBER = re.compile(
    r"(?:\b(?:not|isn't|nicht|pas|non|não|inte|ikke|niet|nie|ei|bukan)\s|(?<!\w)не\s|不是|而非|并非)[\s*_$]*$",
    re.IGNORECASE,
)
_DENIED_BEHIND = re.compile(r"\s?(?:नहीं|değil|ではな|じゃな|(?:가|이)\s?아니)", re.IGNORECASE)
_CORRECTED_NUMBER = re.compile(
    rf"(?:{IT_IS}{_LEAD}|^[\s,:.!、-]{{0,3}})({_NUMBER})(?=[^\n.。]{{0,12}}(?:[.!。\n]|$))", re.IGNORECASE
)
_ALONE = re.compile(rf"[\s*_$(\[\"']{{0,12}}({_NUMBER})[\s*_$)\]\"'.%€£]{{0,12}}")
_FRACTION = re.compile(
    r"(\d?)\s{0,3}\\[dt]?frac\s{0,3}(?:\{\s*(-?[\d.]+)\s*\}\s*\{\s*([\d.]+)\s*\}|(\d)(\d))"
)
_VULGAR = re.compile(r"(\d?)\s?([\u00bc-\u00be\u2150-\u215e])")
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")
_UNITS = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen twenty
"""
_TENS = {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_WORD_VALUES = {word: value for value, word in enumerate(_UNITS.split())} | _TENS
_WORD_VALUES |= {
    f"{ten}{between}{unit}": value + _WORD_VALUES[unit]
    for ten, value in (("twenty", 20), *_TENS.items())
    for unit in _UNITS.split()[1:10]
    for between in "- "
}
_LONGEST_FIRST = "|".join(sorted(_WORD_VALUES, key=len, reverse=True))
_GOES_ON = rf"[\w-]|\s(?:hundred|thousand|million|billion|and\sa|{_LONGEST_FIRST})\b"
_WORD_SAID = re.compile(
    rf"{ANSWER}(?:{_GAP}{IS}|\s?:)\s?:?{_LEAD}({_LONGEST_FIRST})(?!{_GOES_ON})", re.IGNORECASE
)
_HAN = {character: value for value, character in enumerate("〇一二三四五六七八九")} | {
    "零": 0,
    "两": 2,
    "兩": 2,
}
_HAN_POWERS = {"十": 10, "百": 100, "千": 1000}
_HAN_NUMBER = f"[{''.join((*_HAN, *_HAN_POWERS))}万萬亿億]+"
_HAN_SAID = re.compile(rf"{ANSWER}(?:{_GAP}{IS}|\s?:)\s?:?{_LEAD}({_HAN_NUMBER})")


def read_number(reply: str) -> float | None:
    """The number that a reply ends on or declares to be its answer: `read_exact_number` as a float."""
    exact = read_exact_number(reply)
    try:
        return None if exact is None else float(exact)
    except OverflowError:
        return None


def read_exact_number(reply: str) -> Fraction | None:
    """The number that a reply ends on or declares to be its answer.

    In this order: the last `\\boxed{}`; what a correction says ("wait, it is N"); the last "answer is N" or
    "#### N"; a first line that is only a number with prose below; the last number. `1,234.5`, `1.234,5` and
    `1 234,5` are one number, as are `3/4` and `\\frac{3}{4}`; per cent and units are passed over. A reply
    of one English number word counts as a number, and so does one in Chinese characters.
    """
    text = _numeric_text(reply)
    box = boxed(text)
    if box is not None and (tokens := _number_tokens(box)):
        return _value(tokens[-1])
    after = _after_correction(text)
    if corrected := _SAID.findall(after) or _CORRECTED_NUMBER.findall(after):
        return _value(corrected[-1])
    if said := _SAID.findall(text):
        return _value(said[-1])
    first, _, rest = text.strip().partition("\n")
    alone = _ALONE.fullmatch(first)
    if alone and re.search(r"[^\W\d_]", rest):
        return _value(alone.group(1))
    if tokens := _number_tokens(text):
        return _value(tokens[-1])
    return _worded(text)


def _numeric_text(reply: str) -> str:
    text = plain_latex(normalise(own_text(reply)), " ")
    text = re.sub(r"(?<=\d)(?:_|\\,|\{,\}|\\!)(?=\d)", "", text)
    if not text.isascii():
        text = _OTHER_DIGIT.sub(lambda match: str(unicodedata.decimal(match.group())), text)
        text = text.replace("٫", ".").replace("٬", ",").replace("\u2044", "/")
        text = _VULGAR.sub(_spelled_out, text)
    return _FRACTION.sub(_slashed, text)


def _spelled_out(match: re.Match[str]) -> str:
    quotient = unicodedata.normalize("NFKC", match.group(2)).replace("\u2044", "/")
    return f"{match.group(1)} {quotient}" if match.group(1) else quotient


def _slashed(match: re.Match[str]) -> str:
    whole, top, bottom, upper, lower = match.groups()
    quotient = f"{top or upper}/{bottom or lower}"
    return f"{whole} {quotient}" if whole else quotient


def _number_tokens(text: str) -> list[str]:
    """The numbers of a text in order, without exponents ("cm^2") and, if others are left, names ("CO2")."""
    free: list[str] = []
    named: list[str] = []
    denied: list[str] = []
    for match in _NUMBER_RE.finditer(text):
        before = text[max(0, match.start() - 4) : match.start()]
        if re.search(r"\^\s?\{?\s?-?$", before):
            continue
        if _DENIED_NUMBER.search(text[max(0, match.start() - 12) : match.start()]) or _DENIED_BEHIND.match(
            text, match.end()
        ):
            denied.append(match.group())
            continue
        (named if re.search(r"[A-Za-z]$", before) else free).append(match.group())
    return free or named or denied


def _value(token: str) -> Fraction | None:
    """The value of one number as written: `1,234.5`, `1.234,5`, `3,5` (a decimal comma), `2 x 10^3`, `3/4`,
    `3万`."""
    try:
        if any(each in _TIMES for each in token):
            return _myriads(token)
        if "/" in token:
            return _quotient(token)
        mantissa, *power = re.split(
            r"[eE]|\s?[x×*·]\s?10\s?\^\s?\{?|(?<=(?<!\d)10)\s?\^\s?\{?", token.rstrip("}"), maxsplit=1
        )
        if power and mantissa.lstrip("+-") == "10" and "^" in token:
            mantissa = mantissa.replace("10", "1")  # 10^6 is 1 x 10^6
        return Fraction(_plain(mantissa)) * Fraction(10) ** int(power[0] if power else 0)
    except (ValueError, ZeroDivisionError):
        return None


def _myriads(token: str) -> Fraction:
    """`1億2000万`, `3.5万`."""
    parts = re.findall(r"([-+]?[\d.,' ]+)\s?(\D?)", token)
    return sum((Fraction(_plain(digits.strip())) * _TIMES.get(unit, 1) for digits, unit in parts), Fraction())


def _quotient(token: str) -> Fraction:
    top, _, bottom = token.partition("/")
    whole, _, top = top.strip().rpartition(" ")
    value = Fraction(top.lstrip("+-")) / Fraction(bottom.strip())
    value += Fraction(whole.lstrip("+-") or 0)
    return -value if token.startswith("-") else value


def _plain(digits: str) -> str:
    """`digits` with a decimal point alone."""
    grouped = " " in digits
    digits = digits.replace("'", "").replace(" ", "")
    if digits.count(".") > 1 and "," not in digits:
        return digits.replace(".", "")
    head, _, tail = digits.rpartition(",")
    if "." in head:
        digits = f"{head.replace('.', '')}.{tail}"
    elif head and not {".", ","} & {*head, *tail} and (grouped or len(tail) != 3 or head.lstrip("+-") == "0"):
        digits = f"{head}.{tail}"  # one comma that cannot be a thousands separator
    return digits.replace(",", "")


def _worded(text: str) -> Fraction | None:
    """A number in words or Chinese characters that is the whole text or is said to be the answer."""
    whole = fold(text).strip(" .!*_\"'。")
    if (word := _WORD_VALUES.get(whole)) is not None:
        return Fraction(word)
    if words := _WORD_SAID.findall(text):
        return Fraction(_WORD_VALUES[words[-1].lower()])
    characters = re.findall(rf"^({_HAN_NUMBER})\w?$", whole) or _HAN_SAID.findall(text)
    return Fraction(_han_value(characters[-1])) if characters else None


def _han_value(characters: str) -> int:
    if not any(each in _HAN_POWERS or each in _TIMES for each in characters):
        return int("".join(str(_HAN[each]) for each in characters)[:18])
    total = section = digit = 0
    for each in characters[:40]:
        if each in _HAN:
            digit = _HAN[each]
        elif each in _HAN_POWERS:
            section, digit = section + (digit or 1) * _HAN_POWERS[each], 0
        else:
            total, section, digit = (total + section + digit) * _TIMES[each], 0, 0
    return total + section + digit


# Letters of multiple choice

_REASON = (
    "is|was|over|because|since|as|and|n?or|but|not|weil|da|denn|und|oder|parce|car|et|ou|porque|ya|pues|y|o|perché|e"
    "|want|omdat|en|för|eftersom|och|ponieważ|i|vì|karena|dan|olarak|şıkkı|seçeneği|cevabı"
)
# A capital alone, but neither an article nor a pronoun: "A spider has" names no option.
_LETTER = (
    rf"(?<![{LATIN}\d_])([A-Z])(?![{LATIN}\d_]|'(?!(?:d|t)[ıiuü]r)[{LATIN}])(?!\s+(?!(?:{_REASON})\b)[a-z])"
)
_CONSONANT = rf"(?<![{LATIN}\d_])([B-DF-HJL-NP-RTX])(?![{LATIN}\d_]|'(?!(?:d|t)[ıiuü]r)[{LATIN}])"
_CLOSE = r"[)*_\]}\"'`」』】》〉]{0,4}"
_SMALL = (
    rf"(?<![{LATIN}\d_])([a-z])(?=[)*_\]}}\"'`<」』】]*\s*(?:$|[,:;!?\n。、]|\.(?!\w)|[{UNSPACED}{HANGUL}]))"
)
_SMALL_BRACKETED = r"(?<=\()([a-z])(?=\))"
_ANY_LETTER = rf"(?:{_LETTER}|{_CONSONANT}|{_SMALL_BRACKETED}|{_SMALL})"
_LETTER_SAID = re.compile(
    rf"(?:(?i:{ANSWER})(?i:{_GAP}{IS}{ARTICLE}?|{ADJECTIVE})?|(?i:{OPTION}{_GAP}{IS}{ARTICLE}?))"
    rf"[*_\"'`>」】)]{{0,4}}(?:\s{{0,3}}(?:(?i:{IS})|[:=-])){{0,3}}"
    rf"(?:\s{{0,3}}(?i:{OPTION}))?(?:\s{{0,3}}[:=-])?{_LEAD}{_ANY_LETTER}"
)
_LETTER_IS_RIGHT = re.compile(rf"(?<![{LATIN}\d_'.-])([A-Z]){_CLOSE}\.?(?i:{RIGHT})")
_LETTER_PICKED = re.compile(rf"(?i:{OPTION}|{CHOSEN})\s?:?{_LEAD}{_ANY_LETTER}")
_CORRECTED_LETTER = re.compile(
    rf"(?:(?i:{IT_IS})|^|[:,.!、-])(?:\s{{0,3}}(?i:{OPTION}))?{_LEAD}"
    rf"([A-Z])(?={_CLOSE}\s*(?:[.!,;。\n]|{ENDING}|$))"
)
_LINE_LETTER = re.compile(
    r"^[ \t>*_#(\[\"'`$「『【-]{0,12}([A-Za-z])[*_\"'`$]{0,4}"
    r"(?:[)\]:。」』】]|、(?!\s?[A-Z](?![a-z]))|\.(?!\w\.)|[ \t]*$|[ \t]+[-=][ \t])",
    re.MULTILINE,
)
_STANDALONE = re.compile(rf"(?<!['.-]){_LETTER}(?!-)")
# "A. Flour B. Rent C. Fuel" on one line; a single other one may be the C of "B. Vitamin C".
_LISTED = re.compile(rf"(?<![{LATIN}\d_'.-])([A-Z])[.)\]:、](?=[\s{UNSPACED}])")
_ANOTHER = re.compile(
    rf"[)\].*_\"'` ]{{0,6}}(?:,(?=\s?\(?[A-Z](?![{UNSPACED}{HANGUL}]))|/|&|、|和|或|与|및|と|か"
    r"|\b(?:and|or|und|oder|et|ou|y|o|e|и|или|dan|atau)\b)"
    r"(?:\s(?:possibly|maybe|perhaps|even|also|vielleicht)\b)?"
    rf"[\s(\[*_\"'`]{{0,6}}[A-Z](?![{LATIN}\d_'])(?!\s+(?!(?:and|n?or|und|oder|et|y|e)\b)[a-z])"
)
# "A and B are wrong" denies both.
_DENIED_AFTER = re.compile(
    rf"{_CLOSE}(?:(?:\s?[,、]\s?\(?[A-Z]{_CLOSE}){{0,4}}\s?(?:and|n?or|und|et|y|e|и|和|与|、)\s?\(?[A-Z]{_CLOSE})?"
    rf"{DENIED}",
    re.IGNORECASE,
)
_DENIED_BEFORE = re.compile(rf"(?:{NOT})\s?(?:{IS})?\s?(?:{OPTION})?{_LEAD}$", re.IGNORECASE)


def read_choice(reply: str) -> str | None:
    """The one option letter (upper case) that a reply settles on, or None when it names several.

    In this order: the last `\\boxed{}`; what a correction says ("wait, it is C"); the last "answer is B" or
    "B is correct"; the letters that begin lines, and those that are picked ("option B"); the letters that
    stand alone. A letter that is denied ("not A", "A is wrong") is none of these. A reply that repeats the
    list of options has chosen none.
    """
    text = plain_latex(normalise(unfenced(own_text(reply))))
    box = boxed(text)
    if box is not None and (match := re.fullmatch(r"\W*([A-Za-z])(?:\W.*)?", box, re.DOTALL)):
        return match.group(1).upper()
    after = _after_correction(text)
    corrected = _affirmed(_LETTER_SAID, after) or _affirmed(_CORRECTED_LETTER, after)
    if corrected and not _ANOTHER.match(after, corrected[-1].end()):
        return _of(corrected[-1])
    if said := _affirmed(_LETTER_SAID, text) or _affirmed(_LETTER_IS_RIGHT, text):
        return None if _ANOTHER.match(text, said[-1].end()) else _of(said[-1])
    picked = {_of(match) for match in _affirmed(_LETTER_PICKED, text)}
    lines = {str(letter).upper() for letter in _LINE_LETTER.findall(text)}
    if lines:
        listed = lines | set(_LISTED.findall(text))
        first = lines if len(lines) == 1 and len(listed) <= 2 and listed != {"A", "B"} else set()
        return _only(first | picked)
    return _only(picked) or _only({_of(match) for match in _affirmed(_STANDALONE, text)})


def _of(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group).upper()


def _only(letters: set[str]) -> str | None:
    return next(iter(letters)) if len(letters) == 1 else None


def _affirmed(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """The matches whose letter is not denied."""
    found = []
    for match in pattern.finditer(text):
        start, end = next(match.span(each) for each in range(1, len(match.groups()) + 1) if match.group(each))
        if _DENIED_AFTER.match(text, end) or _DENIED_BEFORE.search(text[max(0, start - 30) : start]):
            continue
        found.append(match)
    return found


# Whole replies

_LABEL = re.compile(LABEL)
_PAIRS = ('""', "''", "**", "$$", "()", "[]", "「」", "『』", "【】", "《》", "〈〉")
_TEX_QUOTIENT = re.compile(r"\\[dt]?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}")


MAX_QUOTES = 20
"""Pairs of quotes around a reply that are taken off: each takes time in proportion to its length."""


def bare(reply: str) -> str:
    """The whole reply folded, without fence, emphasis, outer quotes, "Answer:" and final punctuation."""
    text = plain_latex(_TEX_QUOTIENT.sub(r"\1/\2", unboxed(unfenced(own_text(reply)))))
    text = fold(text).replace("**", "").replace("`", "").strip()
    if label := _LABEL.match(text):
        text = re.sub(rf"{ENDING}[.。!]*$", "", text[label.end() :])
    for _ in range(MAX_QUOTES):
        previous = text
        text = text.strip().rstrip(".!?;,:。！？、").strip()
        if len(text) >= 2 and text[0] + text[-1] in _PAIRS:
            text = text[1:-1]
        if text == previous:
            break
    return text


# Names and short phrases

_NAMED_SAID = re.compile(
    rf"(?:{ANSWER}(?:{_GAP}{IS}|[*_\"'`>]{{0,4}}\s{{0,3}}[:=]|】)(?:\s{{0,3}}(?:{IS}|[:=])){{0,2}}|####){_LEAD}",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(
    r"(?<=[\w)\]\"'*])[.!?](?=\s|$)|[。！？؟;]|\n|,?\s(?:but|so|therefore|thus|hence|however)\b",
    re.IGNORECASE,
)
_JOINED = re.compile(r"[*_\"'`]{0,3}\s(?:and|or)\s[*_\"'`]{0,3}")
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_NEGATED = re.compile(rf"(?:{NOT})\s?(?:{IS}|{ARTICLE})?[\s*_\"'`]{{0,4}}(?:a\s|an\s|the\s)?$", re.IGNORECASE)
DECLARED_CHARACTERS = 300
"""Characters after "the answer is" that are read for it."""


def read_named(reply: str, candidates: Sequence[Sequence[str]]) -> int | None:
    """Which of `candidates` (each a list of names for the same thing) a reply settles on, by index; None when
    it names none, several ("X and Y"), or denies those that it names.

    Names are whole words, folded. In this order: the last `\\boxed{}`; what a correction says; what follows
    the last "the answer is"; the last bold text; the last clause that names any. Of several names in one
    place the first counts, for "the answer is X, not Y" and "X, which is before Y".
    """
    text = plain_latex(normalise(unfenced(own_text(reply))), " ")
    after = _after_correction(text)
    said = list(_NAMED_SAID.finditer(text))
    places = [boxed(text), after, text[said[-1].end() :][:DECLARED_CHARACTERS] if said else None]
    for place in (*places, *reversed(_BOLD.findall(text))):
        if place and (clauses := _named_by_clause(place, candidates)):
            return clauses[0]
    clauses = _named_by_clause(text, candidates)
    return clauses[-1] if clauses else None


def _named_by_clause(text: str, candidates: Sequence[Sequence[str]]) -> list[int | None]:
    """For each clause that names candidates and does not deny them, the one that it names first, or None for
    "X and Y" and "X or Y"; of names at one place the longest."""
    folded = fold(text)
    found: list[tuple[int, int, int]] = []
    denied: list[tuple[int, int, int]] = []
    for index, names in enumerate(candidates):
        for name in names:
            pattern = rf"(?<!{WORD}){re.escape(fold(name))}(?!{WORD})"
            for match in re.finditer(pattern, folded):
                before = folded[max(0, match.start() - 30) : match.start()]
                named = denied if _NEGATED.search(before) else found
                named.append((match.start(), -match.end(), index))
    found = [each for each in found if not _inside(each[0], denied)]
    ends = [match.start() for match in _CLAUSE_END.finditer(folded)]
    by_clause: dict[int, int | None] = {}
    found.sort()
    for start, end, index in found:
        # A full stop inside a name, as in "H. pylori", ends nothing.
        clause = sum(each < start and not _inside(each, found) for each in ends)
        joined = _JOINED.match(folded, -end)
        beside = {other for begin, _, other in found if joined and begin == joined.end()} - {index}
        by_clause.setdefault(clause, None if beside else index)
    return list(by_clause.values())


def _inside(position: int, found: Sequence[tuple[int, int, int]]) -> bool:
    return any(start <= position < -end for start, end, _ in found)
