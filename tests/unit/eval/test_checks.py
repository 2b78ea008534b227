"""Checks score replies fairly: right ones 1, wrong ones 0, shares in between, always within 0..1."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from eval.checks import CHECK, Grade, grade, score
from eval.suite import CheckablePrompt, load_suite


def scored(check: dict[str, Any], reply: str) -> float:
    return score(CHECK.validate_python(check), reply, allow_network_code=True)


NUMBER = {"kind": "number", "value": 85, "tolerance": 0.0}
CHOICE = {"kind": "choice", "answer": "C"}
WORDS = {"kind": "words", "any": ["canberra"], "none": ["sydney", "melbourne"]}
EXACT = {"kind": "exact", "answers": ["I received your letter yesterday"]}
JSON = {"kind": "json", "fields": {"name": "Clara", "age": 34, "express": False, "items": ["rope", "lamp"]}}
RULES = {
    "kind": "rules",
    "rules": [{"max_words": 4}, {"includes": ["dawn"]}, {"lines": 1}, {"ends_with": "!"}],
}
PYTHON = {"kind": "python", "tests": ["assert f(2) == 4", "assert f(3) == 9", "assert f(0) == 0"]}


@pytest.mark.parametrize(
    ("check", "reply", "expected"),
    [
        (NUMBER, "85", 1),
        (NUMBER, "47 + 38 = 85", 1),
        (NUMBER, "58", 0),
        (NUMBER, "no idea", 0),
        ({**NUMBER, "tolerance": 0.5}, "84.6", 1),
        ({**NUMBER, "tolerance": 0.5}, "84.4", 0),
        ({"kind": "number", "value": 0.1}, "0.1", 1),
        ({"kind": "number", "value": 1_000_000_000}, "1,000,000,000", 1),
        (CHOICE, "C) A loss", 1),
        (CHOICE, "B", 0),
        (CHOICE, "A) x\nB) y\nC) z\nD) w", 0),
        (WORDS, "Canberra", 1),
        (WORDS, "It is Canberra, not Sydney", 0),
        (WORDS, "Perth", 0),
        (EXACT, '"I received your letter yesterday."', 1),
        (EXACT, "I received your letter yesterday. Anything else?", 0),
        (JSON, '{"name": "clara ", "age": 34.0, "express": false, "items": ["rope", "lamp"]}', 1),
        (JSON, '```json\n{"name": "Clara", "age": "34", "express": 0, "items": ["lamp", "rope"]}\n```', 0.25),
        (JSON, '{"name": "Clara", "age": 34, "express": false}', 0.75),
        (JSON, '{"person": {"name": "Clara"}}', 0),
        (JSON, "name: Clara, age: 34", 0),
        (JSON, '{"name": "Bo"} no: {"name": "Clara", "age": 34, "express": false, "items": []}', 0),
        (JSON, '{"note": 1} {"name": "Clara"}', 0.25),
        ({"kind": "json", "fields": {"a": None}}, '{"b": 1, "a": null}', 1),
        ({"kind": "json", "fields": {"a": None}}, '{"b": 1}', 0),
        ({"kind": "json", "fields": {"a": {"b": 1}}}, '{"a": {"b": 1}}', 1),
        ({"kind": "json", "fields": {"a": {"b": 1}}}, '{"a": {"b": 1, "c": 2}}', 0),
        ({"kind": "json", "fields": {"a": 1}}, '{"a": true}', 0),
        ({"kind": "json", "fields": {"a": 1}}, '{"a": ' + "9" * 4000 + "}", 0),
        (RULES, "The dawn comes!", 1),
        (RULES, "The dawn is coming slowly over the hills", 0.5),
        (RULES, "", 0),
        (PYTHON, "```python\ndef f(x):\n    return x * x\n```", 1),
        (PYTHON, "def f(x):\n    return x + x", 2 / 3),
        (PYTHON, "def f(x) return x", 0),
        (PYTHON, "I can't write code.", 0),
    ],
)
def test_a_reply_is_scored(check: dict[str, Any], reply: str, expected: float) -> None:
    assert scored(check, reply) == pytest.approx(expected)


@pytest.mark.parametrize("check", [NUMBER, CHOICE, WORDS, EXACT, JSON, RULES, PYTHON])
@pytest.mark.parametrize("reply", ["", " \n\t", "\u200b"])
def test_an_empty_reply_scores_nothing(check: dict[str, Any], reply: str) -> None:
    assert scored(check, reply) == 0


def test_a_grade_below_one_says_why() -> None:
    def reason(check: dict[str, Any], reply: str) -> str:
        return grade(CHECK.validate_python(check), reply, allow_network_code=True).reason

    assert reason(NUMBER, "86") == "read 86"
    assert reason(CHOICE, "A, B") == "read no single letter"
    assert reason(WORDS, "Sydney") == "has 'sydney'"
    assert reason(JSON, '{"name": "Bo"}') == "wrong: name, age, express, items"
    assert reason(RULES, "dawn") == "broken: ends_with"
    assert reason(PYTHON, "def f(x) return x") == "code: does not compile: SyntaxError"
    assert reason(PYTHON, "def f(x): return 4") == "test 2: AssertionError; test 3: AssertionError"
    assert reason(NUMBER, "85") == ""


@pytest.mark.parametrize(
    "check",
    [
        {},
        {"kind": "oracle"},
        {"kind": "number"},
        {"kind": "number", "value": "85"},
        {"kind": "number", "value": float("nan")},
        {"kind": "number", "value": 1, "tolerance": -1},
        {"kind": "number", "value": 1, "answer": 2},
        {"kind": "choice", "answer": "b"},
        {"kind": "choice", "answer": "AB"},
        {"kind": "words", "any": []},
        {"kind": "words", "any": [""]},
        {"kind": "exact", "answers": ["..."]},
        {"kind": "json", "fields": {}},
        {"kind": "python", "tests": []},
        {"kind": "python", "tests": ["assert f("]},
        {"kind": "rules", "rules": [{"max_words": 4, "lines": 1}]},
    ],
)
def test_what_is_no_check_is_refused(check: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CHECK.validate_python(check)


@given(st.sampled_from([NUMBER, CHOICE, WORDS, EXACT, JSON, RULES]), st.text(max_size=200))
def test_every_score_lies_between_nothing_and_one(check: dict[str, Any], reply: str) -> None:
    assert 0 <= scored(check, reply) <= 1


@given(st.integers(-(10**8), 10**8), st.integers(-(10**8), 10**8))
def test_only_the_right_number_scores(right: int, said: int) -> None:
    assert scored({"kind": "number", "value": right}, f"The answer is {said}.") == (right == said)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=5), st.integers() | st.booleans() | st.text(max_size=5), min_size=1
    )
)
def test_the_right_object_scores_one_in_any_order(fields: dict[str, Any]) -> None:
    turned = dict(reversed(list(fields.items())))

    assert scored({"kind": "json", "fields": fields}, f"Here:\n{json.dumps(turned, indent=2)}") == 1


ITEMS = load_suite().items


def test_the_right_answer_of_every_item_of_our_own_scores_one() -> None:
    """An item whose own answer fails its check would mark every expert wrong."""
    for item in ITEMS:
        match item.check.kind:
            case "number":
                right = [f"{item.check.value:g}", f"The answer is {item.check.value:,.10g}."]
            case "choice":
                right = [item.check.answer, f"Answer: {item.check.answer})"]
            case "words":
                right = list(item.check.any)
            case "exact":
                right = list(item.check.answers)
            case "json":
                right = [json.dumps(item.check.fields)]
            case _:
                continue
        assert [reply for reply in right if score(item.check, reply) != 1] == [], item.id


REFERENCES: dict[str, str] = json.loads(Path(__file__).with_name("reference_replies.json").read_text("utf-8"))
OPEN_ENDED = [item for item in ITEMS if item.check.kind in {"python", "rules"}]


@pytest.mark.parametrize("item", OPEN_ENDED, ids=lambda item: item.id)
def test_a_good_reply_to_every_open_ended_item_of_our_own_scores_one(item: CheckablePrompt) -> None:
    assert grade(item.check, REFERENCES[item.id], allow_network_code=True) == Grade(1.0)


def test_the_prompt_itself_sent_back_scores_no_exact_item() -> None:
    """A model that only repeats the question must not be rewarded by the checks that have one answer."""
    echoed = [
        item.id
        for item in ITEMS
        if item.check.kind in {"choice", "exact", "words"} and score(item.check, item.prompt) == 1
    ]
    assert echoed == []
