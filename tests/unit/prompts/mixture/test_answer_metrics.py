"""Metrics: what counts as the same answer, and what does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.reply_text import own_text
from prompts.mixture.answer_metrics import (
    METRICS,
    choice,
    contains,
    exact,
    numeric,
    verbatim,
)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Paris.", "paris"),
        ('"Paris"', "Paris"),
        ("  New\n York ", "new york"),
        ("**Answer:** 12", "12"),
        ("The answer is Paris.", "Paris"),
        ("Output: a, b", "a, b"),
        ("ﬁve", "five"),
        ("!", "!"),
    ],
)
def test_exact_forgives_case_blanks_quotes_and_lead_ins(answer: str, expected: str) -> None:
    assert exact(answer, expected) == 1.0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("Paris or Rome", "Paris"), ("", "Paris"), ("-3", "3"), ("a b", "ab"), (" ", ".")],
)
def test_exact_forgives_nothing_else(answer: str, expected: str) -> None:
    assert exact(answer, expected) == 0.0


def test_verbatim_forgives_blanks_at_the_ends_alone() -> None:
    assert verbatim(" PARIS.\n", "PARIS.") == 1.0
    assert verbatim("Paris", "PARIS") == verbatim("PARIS", "PARIS.") == verbatim("", "") == 0.0


def test_contains_wants_whole_words() -> None:
    assert contains("It is Paris, of course.", "Paris") == 1.0
    assert contains("Comparison", "paris") == 0.0
    assert contains("anything", "...") == contains("", "x") == 0.0


@pytest.mark.parametrize(
    ("answer", "expected", "score"),
    [
        ("日本的首都是东京。", "东京", 1),
        ("答えは東京です", "東京", 1),
        ("수도는 서울입니다", "서울", 1),
        ("เมืองหลวงคือกรุงเทพมหานคร", "กรุงเทพ", 1),
        ("ＰＡＲＩＳ", "paris", 1),
        ("Comparison", "paris", 0),
        ("<think>Rome</think>Paris", "Rome", 0),
        ("用python写", "Python", 1),
        ("Столица — Москва.", "москва", 1),
        ("москвич", "Москва", 0),
    ],
)
def test_contains_knows_every_script(answer: str, expected: str, score: float) -> None:
    assert contains(answer, expected) == score


@pytest.mark.parametrize(
    ("answer", "expected", "score"),
    [
        ("答案是东京。", "东京", 1),
        ("答案：东京", "东京", 1),
        ("「東京」", "東京", 1),
        ("答えは東京です。", "東京", 1),
        ("Antwort: Paris.", "Paris", 1),
        ("La réponse est Paris.", "paris", 1),
        ("Ｐａｒｉｓ！", "Paris", 1),
        ("Ответ: Москва", "Москва", 1),
        ("Output: a, b", "a, b", 1),
        ("!", "!", 1),
        ("x²", "x2", 0),
        ("Paris or Rome", "Paris", 0),
        ("-3", "3", 0),
        ("<think>x</think>Paris", "Paris", 1),
        ("정답: 서울", "서울", 1),
        ("**Answer:** 12", "12", 1),
    ],
)
def test_exact_knows_every_language(answer: str, expected: str, score: float) -> None:
    assert exact(answer, expected) == score


@pytest.mark.parametrize(
    "answer", ["答案是B。", "Die Antwort ist B.", "I would say option B, not A", "(b)", "<think>A</think>B"]
)
def test_choice_reads_as_the_checks_do(answer: str) -> None:
    assert choice(answer, "B") == 1.0


def test_choice_is_wrong_without_a_letter() -> None:
    assert choice("(b)", "B") == 1.0
    assert choice("no idea", "no idea") == 0.0


@pytest.mark.parametrize(
    ("answer", "expected", "score"),
    [
        ("3 + 4 = 7", "7", 1.0),
        ("$1,200.00", "1200", 1.0),
        ("It is -5.", "-5", 1.0),
        ("−5", "-5", 1.0),
        ("7 of 8", "7", 0.0),
        ("seven", "7", 1.0),
        ("答案是42。", "42", 1.0),
        ("The answer is 3/4.", "0.75", 1.0),
        ("1.234,5", "1234.5", 1.0),
        ("9007199254740993", "9007199254740992", 0.0),
        ("", "7", 0.0),
        (".5", "0.50", 1.0),
        ("It is 12km away", "12", 1.0),
    ],
)
def test_numeric_compares_the_last_number(answer: str, expected: str, score: float) -> None:
    assert numeric(answer, expected) == score


@given(st.text(), st.text())
def test_every_metric_is_nought_or_one_on_any_text(answer: str, expected: str) -> None:
    assert {metric(answer, expected) for metric in METRICS.values()} <= {0.0, 1.0}


@given(st.text())
def test_a_text_equals_itself(text: str) -> None:
    assert exact(text, text) == float(bool(own_text(text).strip()))
