"""Programmatic checks of replies, defined in JSON: `score` gives 0..1, `grade` also the reason."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, assert_never

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, model_validator

from eval.form_rules import FormRule, Phrase, is_met
from eval.reply_parsing import (
    bare,
    code_candidates,
    contains_phrase,
    count_words,
    fold,
    own_text,
    read_choice,
    read_named,
    read_number,
    read_objects,
)


class _Check(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class NumberCheck(_Check):
    """The reply's number is `value` within `tolerance`."""

    kind: Literal["number"]
    value: float
    tolerance: float = Field(default=0.0, ge=0)


class ChoiceCheck(_Check):
    """The reply's final choice is this letter."""

    kind: Literal["choice"]
    answer: str = Field(pattern=r"^[A-Z]$")


class WordsCheck(_Check):
    """The reply has one of `any` and none of `none` as whole words, case-insensitively."""

    kind: Literal["words"]
    any: list[Phrase] = Field(min_length=1)
    none: list[Phrase] = Field(default_factory=list)


class AnswerCheck(_Check):
    """The reply settles on one of `answers`, and on none of `others`, read out of free text: a short answer
    in words, which the reply declares, or names in its conclusion. All are treated alike until one is
    found."""

    kind: Literal["answer"]
    answers: list[Phrase] = Field(min_length=1)
    others: list[Phrase] = Field(default_factory=list)


class ExactCheck(_Check):
    """The reply is one of `answers`, ignoring case, outer quotes and final punctuation."""

    kind: Literal["exact"]
    answers: list[Phrase] = Field(min_length=1)

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        if empty := [answer for answer in self.answers if not bare(answer)]:
            raise ValueError(f"nothing is left of the answer {empty[0]!r} without its punctuation")
        return self


class JsonCheck(_Check):
    """The reply has a JSON object with these fields; scored by the share of correct fields."""

    kind: Literal["json"]
    fields: dict[str, JsonValue] = Field(min_length=1)


class PythonCheck(_Check):
    """The reply's code is run with these tests in the sandbox; scored by the share that passes."""

    kind: Literal["python"]
    tests: list[Phrase] = Field(min_length=1)

    @model_validator(mode="after")
    def _tests_compile(self) -> Self:
        for test in self.tests:
            try:
                compile(test, "<test>", "exec", dont_inherit=True)
            except (SyntaxError, ValueError) as error:
                raise ValueError(f"the test {test!r} is not Python: {error}") from error
        return self


class RulesCheck(_Check):
    """Scored by the share of these rules that are met."""

    kind: Literal["rules"]
    rules: list[FormRule] = Field(min_length=1)


TextCheck = NumberCheck | ChoiceCheck | WordsCheck | AnswerCheck | ExactCheck | JsonCheck | RulesCheck
Check = Annotated[TextCheck | PythonCheck, Field(discriminator="kind")]
CHECK: TypeAdapter[Check] = TypeAdapter(Check)
"""Reads a check from JSON or a dict: `CHECK.validate_python({"kind": "number", "value": 4})`."""


@dataclass(frozen=True, slots=True)
class Grade:
    """A score in 0..1 and the reason if below 1."""

    score: float
    reason: str = ""


def score(check: Check, reply: str, *, allow_network_code: bool = False) -> float:
    """The score of `reply` under `check`, 0..1. See `grade`."""
    return grade(check, reply, allow_network_code=allow_network_code).score


def grade(check: Check, reply: str, *, allow_network_code: bool = False) -> Grade:
    """Score `reply` without its thinking; an empty one scores 0. Blocks up to `sandbox.Limits.wall_s` seconds
    for `python` checks, which raise SandboxUnavailable if the network cannot be blocked, unless
    `allow_network_code`."""
    reply = own_text(reply)
    if not fold(reply):
        return Grade(0.0, "the reply is empty")
    if isinstance(check, PythonCheck):
        return _grade_code(check, reply, allow_network_code)
    return _grade_text(check, reply)


def _grade_text(check: TextCheck, reply: str) -> Grade:  # noqa: C901 - one case for each kind
    match check:
        case NumberCheck():
            number = read_number(reply)
            if number is None:
                return Grade(0.0, "no number found")
            right = math.isclose(number, check.value, rel_tol=1e-9, abs_tol=check.tolerance + 1e-9)
            return Grade(1.0) if right else Grade(0.0, f"read {number:g}")
        case ChoiceCheck():
            letter = read_choice(reply)
            return (
                Grade(1.0) if letter == check.answer else Grade(0.0, f"read {letter or 'no single letter'}")
            )
        case WordsCheck():
            if unwanted := next((word for word in check.none if contains_phrase(reply, word)), None):
                return Grade(0.0, f"has {unwanted!r}")
            found = any(contains_phrase(reply, word) for word in check.any)
            return Grade(1.0) if found else Grade(0.0, "has none of the words")
        case AnswerCheck():
            return _grade_named(check, reply)
        case ExactCheck():
            right = bare(reply) in {bare(answer) for answer in check.answers}
            return Grade(1.0) if right else Grade(0.0, "is another text")
        case JsonCheck():
            return _grade_json(check, reply)
        case RulesCheck():
            if not count_words(reply):
                return Grade(0.0, "the reply has no words")
            broken = [rule.name for rule in check.rules if not is_met(rule, reply)]
            return _share(len(check.rules), broken, "broken")
        case _:
            assert_never(check)


def _grade_named(check: AnswerCheck, reply: str) -> Grade:
    settled = read_named(reply, [check.answers, *([other] for other in check.others)])
    if settled == 0:
        return Grade(1.0)
    return Grade(0.0, "names no answer" if settled is None else f"read {check.others[settled - 1]!r}")


def _grade_json(check: JsonCheck, reply: str) -> Grade:
    # The first object with one of the fields, not the best of several.
    found = next((each for each in read_objects(reply) if each.keys() & check.fields.keys()), None)
    if found is None:
        return Grade(0.0, "no JSON object with these fields")
    wrong = [
        name for name, value in check.fields.items() if name not in found or not _same(found[name], value)
    ]
    return _share(len(check.fields), wrong, "wrong")


def _same(found: Any, wanted: Any) -> bool:
    """Equal JSON values; strings ignore case and outer spaces; 34 equals 34.0 but not "34"."""
    if isinstance(wanted, bool) or isinstance(found, bool) or wanted is None:
        return found is wanted
    if isinstance(wanted, str):
        return isinstance(found, str) and fold(found) == fold(wanted)
    if isinstance(wanted, int | float):
        try:
            return isinstance(found, int | float) and math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9)
        except OverflowError:  # an integer beyond every float
            return False
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(_same, found, wanted))
    return (
        isinstance(found, dict)
        and found.keys() == wanted.keys()
        and all(_same(found[key], value) for key, value in wanted.items())
    )


def _grade_code(check: PythonCheck, reply: str, allow_network_code: bool) -> Grade:
    from eval.sandbox import run_tests

    verdict = run_tests(code_candidates(reply), check.tests, allow_network_code=allow_network_code)
    return Grade(verdict.share, verdict.reason)


def _share(total: int, failed: list[str], verb: str) -> Grade:
    return Grade(1 - len(failed) / total, f"{verb}: {', '.join(failed)}" if failed else "")
