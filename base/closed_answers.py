"""Reading a closed answer out of a reply as models, small ones above all, really talk: a number, an
option's letter, a few words.

Each reader takes the text of one reply and returns what it found, or None. It knows nothing of which
answer is right, so that a reply is never read towards it. Checks and votes read by the same rules.
"""

import math
import re

from base.text_folding import MAX_REPLY_CHARS, fold, normalise

_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+#.-]*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)


def fenced_blocks(reply: str) -> list[tuple[str, str]]:
    """(language, content) of each fenced block; one that never closes reaches to the end."""
    return [(m.group(1).lower(), m.group(2)) for m in _FENCE.finditer(reply[:MAX_REPLY_CHARS])]


def unfenced(reply: str) -> str:
    """The content of the fence when the whole reply is one fenced block, otherwise the reply itself."""
    text = reply[:MAX_REPLY_CHARS].strip()
    match = _FENCE.match(text)
    return match.group(2).strip() if match and match.end() == len(text) else text


_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}")
_LATEX_TEXT = re.compile(r"\\(?:text|mathrm|mathbf)\s*\{([^{}]*)\}")


def _boxed(text: str) -> str | None:
    boxes = _BOXED.findall(text)
    return boxes[-1] if boxes else None


# Numbers

# A sign counts only where no word or number ends just before it: "3-5" holds 3 and 5.
_NUMBER = (
    r"(?:(?<![\w.)\]])[-+])?"
    r"(?:\d{1,3}(?:\.\d{3})+,\d+"  # 1.204,50
    r"|\d{1,3}(?:[,']\d{3}(?!\d))+(?:\.\d+)?"  # 1,204.50
    r"|\d+(?:[.,]\d+)?|(?<![\d.,])\.\d+)"
)
_EXPONENT = r"(?:[eE][-+]?\d{1,3}\b|\s?[x×*·]\s?10\s?\^\s?\{?[-+]?\d{1,3}\}?)?"
_NUMBER_RE = re.compile(_NUMBER + _EXPONENT)
_SAID = re.compile(
    r"(?:(?:answer|result|antwort|respuesta|réponse|risposta)\b[*_\"']{0,4}"
    r"(?:\s{0,3}(?:is\b|was\b|:|=|ist\b|es\b|est\b|è)){1,3}(?:\s(?:about|approximately)\b)?|####)"
    rf"[\s*_$(\[\"'=:€£]{{0,12}}({_NUMBER}{_EXPONENT})",
    re.IGNORECASE,
)
_UNITS = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen twenty
"""
_TENS = {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_WORD_VALUES = {word: value for value, word in enumerate(_UNITS.split())} | _TENS


def _value(token: str) -> float | None:
    """The value of one number as written: `1,234.5`, `1.234,5`, `3,5` (a decimal comma), `2 x 10^3`."""
    mantissa, *power = re.split(r"[eE]|\s?[x×*·]\s?10\s?\^\s?\{?", token.rstrip("}"), maxsplit=1)
    digits = mantissa.replace("'", "")
    head, _, tail = digits.rpartition(",")
    if "." in head:
        digits = f"{head.replace('.', '')}.{tail}"
    elif head and "." not in tail and "," not in head and (len(tail) != 3 or head.lstrip("+-") == "0"):
        digits = f"{head}.{tail}"  # one comma that cannot be a thousands separator
    try:
        value = float(digits.replace(",", "")) * 10.0 ** int(power[0] if power else 0)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def _number_tokens(text: str) -> list[str]:
    """The numbers of a text in order, without exponents ("cm^2") and, if others are left, names ("CO2")."""
    free: list[str] = []
    named: list[str] = []
    for match in _NUMBER_RE.finditer(text):
        before = text[max(0, match.start() - 4) : match.start()]
        if re.search(r"\^\s?\{?\s?-?$", before):
            continue
        (named if re.search(r"[A-Za-z]$", before) else free).append(match.group())
    return free or named


def read_number(reply: str) -> float | None:
    """The number that a reply ends on or declares to be its answer.

    In this order: the last `\\boxed{}`; the last "answer is N" or "#### N"; a first line that is only a
    number with prose below; the last number. A reply of one English number word counts as a number.
    """
    # Thin and non-breaking spaces group digits; plain ones also stand between numbers.
    text = re.sub(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))", "", reply[:MAX_REPLY_CHARS])
    text = _LATEX_TEXT.sub(r" \1 ", normalise(text))
    text = re.sub(r"(?<=\d)(?:_|\\,|\{,\}|\\!)(?=\d)", "", text)
    box = _boxed(text)
    if box is not None and (tokens := _number_tokens(box)):
        return _quotient(box, tokens)
    said = _SAID.findall(text)
    if said:
        return _value(said[-1])
    first, _, rest = text.strip().partition("\n")
    alone = re.fullmatch(rf"[\s*_$(\[\"']{{0,12}}({_NUMBER})[\s*_$)\]\"'.%€£]{{0,12}}", first)
    if alone and re.search(r"[^\W\d_]", rest):
        return _value(alone.group(1))
    if tokens := _number_tokens(text):
        return _value(tokens[-1])
    return _WORD_VALUES.get(fold(text).strip(" .!*_\"'"))


def _quotient(box: str, tokens: list[str]) -> float | None:
    """The value of a box: its last number, or the quotient when it holds one fraction."""
    if _FRACTION.fullmatch(box.strip(" $")) and len(tokens) == 2:
        top, bottom = _value(tokens[0]), _value(tokens[1])
        return top / bottom if top is not None and bottom else None
    return _value(tokens[-1])


# Letters of multiple choice

# A capital alone, but neither an article nor a pronoun: "A spider has" names no option.
_LETTER = r"([A-Z])(?![\w'])(?!\s+(?!is\b|was\b|because\b|since\b|as\b|and\b|n?or\b|but\b|not\b)[a-z])"
_LETTER_SAID = re.compile(
    r"\b(?i:answer|antwort|respuesta|réponse|risposta|answer\s(?:option|choice)|correct\s(?:option|choice|letter))\b"
    r"[*_\"']{0,4}(?:\s{1,3}(?:is|would be|should be|must be|ist|es|est|è)\b)?\s{0,3}[:=-]?"
    r"(?:\s{0,3}(?i:option|letter|choice)\b)?[\s*_$(\[\"'`]{0,12}" + _LETTER
)
_LETTER_IS_RIGHT = re.compile(
    r"(?<![\w'.-])([A-Z])[)*_\]\"'.]{0,4}\s{1,3}is\s(?:the\s)?(?:most\s)?(?:correct|right|best)"
)
_LINE_LETTER = re.compile(
    r"^[ \t>*_#(\[\"'`$-]{0,12}([A-Za-z])[*_\"'`$]{0,4}(?:[)\]:]|\.(?!\w\.)|[ \t]*$|[ \t]+[-=][ \t])",
    re.MULTILINE,
)
_STANDALONE = re.compile(r"(?<![\w'.-])" + _LETTER.replace("(?![\\w'])", "(?![\\w'-])"))
# "A. Flour B. Rent C. Fuel" on one line; a single other one may be the C of "B. Vitamin C".
_LISTED = re.compile(r"(?<![\w'.-])([A-Z])[.)\]:](?=\s)")
_ANOTHER = re.compile(
    r"[)\].*_\"'` ]{0,6}(?:,|/|&|\band\b|\bor\b)[\s(\[*_\"'`]{0,6}[A-Z](?![\w'])(?!\s+[a-z])"
)


def read_choice(reply: str) -> str | None:
    """The one option letter (upper case) that a reply settles on, or None when it names several.

    In this order: the last `\\boxed{}`; the last "answer is B" or "B is correct"; the letters that begin
    lines; the letters that stand alone. A reply that repeats the list of options has chosen none.
    """
    text = _LATEX_TEXT.sub(r"\1", normalise(unfenced(reply)))
    box = _boxed(text)
    if box is not None and (match := re.fullmatch(r"\W*([A-Za-z])(?:\W.*)?", box, re.DOTALL)):
        return match.group(1).upper()
    said = list(_LETTER_SAID.finditer(text)) or list(_LETTER_IS_RIGHT.finditer(text))
    if said:
        return None if _ANOTHER.match(text, said[-1].end()) else said[-1].group(1)
    lines = {str(letter).upper() for letter in _LINE_LETTER.findall(text)}
    if lines:
        listed = lines | set(_LISTED.findall(text))
        return lines.pop() if len(lines) == 1 and len(listed) <= 2 else None
    letters = set(_STANDALONE.findall(text))
    return str(letters.pop()) if len(letters) == 1 else None


# Whole replies


def bare(reply: str) -> str:
    """The whole reply folded, without fence, emphasis, outer quotes, "Answer:" and final punctuation."""
    text = unfenced(reply)
    box = _BOXED.fullmatch(text.strip(" $.\n"))
    text = _LATEX_TEXT.sub(r"\1", _FRACTION.sub(r"\1/\2", box.group(1) if box else text))
    text = fold(text).replace("**", "").replace("`", "")
    text = re.sub(r"^(?:the )?(?:final |correct )?answer(?:\s*:|\s+is\b:?)\s*", "", text)
    previous = None
    while previous != text:
        previous = text
        text = text.strip().rstrip(".!?;,:。！？").strip()
        if len(text) >= 2 and text[0] + text[-1] in ('""', "''", "**", "$$", "()", "[]"):
            text = text[1:-1]
    return text
