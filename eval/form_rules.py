"""Rules on the form of a reply; typographic quotes, hyphens and spaces equal ASCII ones."""

import re
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from base.phrases import UNSPACED
from eval.reply_parsing import contains_phrase, count_words, fold, normalise, unfenced
from routers.language import LANGUAGES, identify_language

Count = Annotated[int, Field(ge=0)]
Phrase = Annotated[str, Field(min_length=1, pattern=r"\S")]


class FormRule(BaseModel):
    """One rule: exactly one field is set."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_words: Count | None = None
    min_words: Count | None = None
    lines: Count | None = None
    """Number of non-empty lines."""
    max_lines: Count | None = None
    bullets: Count | None = None
    """Number of lines that start with -, * or •."""
    sentences: Count | None = None
    includes: Annotated[list[Phrase], Field(min_length=1)] | None = None
    """All of these as whole words, ignoring case and inflection ("launched" for "launch")."""
    excludes: Annotated[list[Phrase], Field(min_length=1)] | None = None
    starts_with: Phrase | None = None
    ends_with: Phrase | None = None
    language: str | None = None
    """ISO 639-1 code of the reply's language."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set) != 1 or getattr(self, self.name) is None:
            raise ValueError("a rule is an object with exactly one key, such as {'max_words': 40}")
        if self.language is not None and self.language not in LANGUAGES:
            raise ValueError(f"language must be one of {', '.join(sorted(LANGUAGES))}")
        return self

    @property
    def name(self) -> str:
        """The rule's key."""
        return next(iter(self.model_fields_set))


def is_met(rule: FormRule, reply: str) -> bool:
    """Whether `reply` meets `rule`; an empty one meets none."""
    text = normalise(unfenced(reply)).strip()
    if not count_words(text):
        return False
    match rule:
        case FormRule(max_words=int(n)):
            return count_words(text) <= n
        case FormRule(min_words=int(n)):
            return count_words(text) >= n
        case FormRule(lines=int(n)):
            return len(_lines(text)) == n
        case FormRule(max_lines=int(n)):
            return len(_lines(text)) <= n
        case FormRule(bullets=int(n)):
            return sum(1 for line in _lines(text) if _BULLET.match(line)) == n
        case FormRule(sentences=int(n)):
            return count_sentences(text) == n
        case FormRule(language=str(code)):
            return identify_language(text) == code
        case _:
            return _words_are_met(rule, reply, text)


def _words_are_met(rule: FormRule, reply: str, text: str) -> bool:
    if rule.includes is not None:
        return all(contains_phrase(text, phrase, inflected=True) for phrase in rule.includes)
    if rule.excludes is not None:
        # The untouched reply: "```" may be what is excluded.
        return not any(contains_phrase(reply, phrase) for phrase in rule.excludes)
    if rule.starts_with is not None:
        start = fold(rule.starts_with)
        return fold(text).lstrip("*_#>\"' ").startswith(start) or fold(text).startswith(start)
    end = fold(rule.ends_with or "")
    tail = fold(text).rstrip("*_\"' ")
    if end[-1:].isalnum():
        tail = tail.rstrip(".!,;:*_\"' 。！、」』")
        return tail.endswith(end) and contains_phrase(tail[-len(end) - 1 :], end)
    return tail.endswith(end) or fold(text).endswith(end)


_BULLET = re.compile(r"\s*(?:[-•]\s*[^\s-]|\*\s+\S)")


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


_ABBREVIATIONS = """
    mr mrs ms dr prof st mt vs etc jr sr no approx fig inc ltd e.g i.e a.m p.m u.s u.k z.b d.h bzw usw ca mme
"""
_SHORT_FORM = re.compile(
    r"(?<!\w)(?:" + "|".join(map(re.escape, _ABBREVIATIONS.split())) + r")\.(?=\s+\S)", re.IGNORECASE
)
_END = re.compile(rf"[.!?…]+[\"')\]*_」』]*(?=\s|$|[{UNSPACED}])|[。।။។؟۔։]+[」』)\"']*")


def count_sentences(reply: str) -> int:
    """Number of sentences by final punctuation (an unpunctuated line is one), except after common
    abbreviations, decimals and list numbers; approximate: an abbreviation that ends a sentence is missed."""
    total = 0
    for line in _lines(normalise(reply)):
        line = re.sub(r"^\s*(?:[-*•#>]+|\d{1,3}[.)])\s+", "", line)
        line = _SHORT_FORM.sub(lambda match: match.group()[:-1], line)
        pieces = [piece for piece in _END.split(line) if count_words(piece)]
        total += len(pieces)
    return total
