"""Final answers: what several replies to one closed question agree on.

A question is closed when the answers to it can be compared as they are: an option's letter, a number, yes
or no, a few words. Which of these is read off the prompt, never off the answers alone.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from base.phrases import HANGUL, LATIN, UNSPACED, count_words, words
from base.reply_text import own_text, text_of_message
from base.text_folding import fold, normalise

Kind = Literal["choice", "number", "yes_no", "words"]

WORDS = 6
"""Answers of at most so many words can be compared as a whole."""
CHARACTERS = 24
"""The same of a script without blanks between words."""
BEGINNING, END = 2_000, 6_000
"""Characters of a reply, without its thinking, that are read for its answer: the event loop waits for it."""

_OPTIONS = re.compile(rf"(?<![{LATIN}\d_'.-])\(?([A-J])[.):、](?=[\s{UNSPACED}{HANGUL}])")
_YES_NO = re.compile(
    r"\b(?:yes or no|yes/no|true or false|true/false|ja oder nein|oui ou non|sí o no|sì o no|sim ou não"
    r"|ja of nee|ja eller nej|tak lub nie|да или нет)\b|是或否|是还是否|是還是否|对还是错|對還是錯"
    r"|はいかいいえ|はい/いいえ|예/아니",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"\b(?:how (?:many|much|old|far|long|tall)|calculate|compute|evaluate|what is the (?:sum|product|value"
    r"|total|number|remainder|area|average|mean|perimeter|difference|probability)|solve for"
    r"|as a (?:single )?number|number only|integer)\b|\d\s*[-+*/×÷^]\s*\d",
    re.IGNORECASE,
)
_BRIEF = re.compile(
    r"\b(?:one|a single|single) word\b|\bonly the (?:word|name|answer)\b|\bjust the (?:word|name|answer)\b",
    re.IGNORECASE,
)
# fmt: off
_YES = frozenset({
    "yes", "true", "correct", "ja", "oui", "sí", "si", "sì", "sim", "tak", "da", "да", "так", "evet", "ya",
    "vâng", "đúng", "benar", "네", "예", "نعم",
})
_NO = frozenset({
    "no", "false", "incorrect", "nein", "nee", "nej", "non", "não", "nie", "не", "нет", "ні", "hayır",
    "không", "tidak", "아니요", "아니오", "لا",
})
# fmt: on
_BEGINS_NO = ("不", "否", "错", "錯", "いいえ", "誤", "ไม่", "नहीं")
_BEGINS_YES = ("是", "对", "對", "正确", "正確", "はい", "正しい", "ใช่", "हाँ")


def kind_of_question(messages: Sequence[Mapping[str, Any]]) -> Kind | None:
    """How the answers to the last user turn can be compared; None when it is open."""
    texts = [text_of_message(each) for each in messages if each.get("role") == "user"]
    text = texts[-1] if texts else ""
    if len(set(_OPTIONS.findall(normalise(text, None)))) >= 2:
        return "choice"
    if _YES_NO.search(text):
        return "yes_no"
    if _BRIEF.search(text):
        return "words"
    if _NUMBER.search(text):
        return "number"
    return None


def closed_answer(kind: Kind, reply: str) -> str | None:
    """The answer in `reply` in a form that equal answers share; None when there is none."""
    # Its patterns take a tenth of a second to compile: loaded with the first answer that is read.
    from base.closed_answers import bare, read_choice, read_number

    reply = _ends(reply)
    match kind:
        case "choice":
            return read_choice(reply)
        case "number":
            number = read_number(reply)
            return None if number is None else f"{number:.6g}"
        case "yes_no":
            text = bare(reply)
            first = re.match(r"[^\W\d_]+", text)
            word = first.group() if first else ""
            if word in _NO or text.startswith(_BEGINS_NO):
                return "no"
            return "yes" if word in _YES or text.startswith(_BEGINS_YES) else None
        case "words":
            text = bare(reply)
            brief = 0 < len(text.split()) <= WORDS and count_words(text) <= CHARACTERS
            return text if brief else None


def _ends(reply: str) -> str:
    text = own_text(reply)
    return text if len(text) <= BEGINNING + END else f"{text[:BEGINNING]}\n\n{text[-END:]}"


@dataclass(frozen=True, slots=True)
class Vote:
    """`winner`: index of the answer that stands for the winning ones; `share` of the weight that they
    have; `counts`: answers with their weight. No texts longer than a few words."""

    winner: int
    share: float
    counts: Mapping[str, float]


def vote(answers: Sequence[str | None], weights: Sequence[float]) -> Vote | None:
    """The answer of most weight; of equal ones the one that was given first. None when nobody gave any.

    The winner is the first that gave it: callers put the best expert first.
    """
    counts: defaultdict[str, float] = defaultdict(float)
    for answer, weight in zip(answers, weights, strict=True):
        if answer is not None:
            counts[answer] += weight
    if not counts:
        return None
    best = max(counts, key=lambda answer: counts[answer])
    total = sum(counts.values())
    return Vote(answers.index(best), counts[best] / total if total else 0.0, dict(counts))


def likeness(one: str, other: str) -> float:
    """How much two texts share, 0..1: F1 of their words. For answers that cannot be compared as a whole."""
    return _likeness(Counter(words(fold(one))), Counter(words(fold(other))))


def medoid(replies: Sequence[str]) -> int:
    """The index of the reply that is most like the others, by `likeness` without their thinking; of equal
    ones the first. An empty reply only where all are."""
    counts = [Counter(words(fold(_ends(reply)))) for reply in replies]
    spoken = [index for index, reply in enumerate(replies) if reply.strip()] or range(len(replies))
    return max(spoken, key=lambda index: sum(_likeness(counts[index], other) for other in counts))


def _likeness(left: Counter[str], right: Counter[str]) -> float:
    total = left.total() + right.total()
    return 2 * (left & right).total() / total if total else 1.0
