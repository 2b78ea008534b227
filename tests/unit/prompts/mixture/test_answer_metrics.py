"""Metrics: what counts as the same answer, and what does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts.mixture.answer_metrics import (
    METRICS,
    choice,
    contains,
    exact,
    last_number,
    letter,
    normalise,
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
    ("text", "expected"),
    [
        ("B", "B"),
        ("b) because", "B"),
        ("(C)", "C"),
        ("The answer is (D).", "D"),
        ("Answer: A", "A"),
        ("**B**", "B"),
        ("I would say option C, not A", "C"),
        ("It is between (A) and (B)", None),
        ("A dog is an animal", None),
        ("My answer: a list of words", None),
        ("The correct answer is B because", "B"),
        ("the answer is:\n\n**c**", "C"),
        ("I'm not sure", None),
        ("", None),
    ],
)
def test_the_letter_of_an_answer(text: str, expected: str | None) -> None:
    assert letter(text) == expected


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
        ("seven", "7", 0.0),
        ("", "7", 0.0),
        (".5", "0.50", 1.0),
        ("It is 12km away", "12", 1.0),
    ],
)
def test_numeric_compares_the_last_number(answer: str, expected: str, score: float) -> None:
    assert numeric(answer, expected) == score


def test_a_number_inside_a_word_is_none() -> None:
    assert last_number("x12y") is None
    assert last_number("2024-05-17") is not None


@given(st.text(), st.text())
def test_every_metric_is_nought_or_one_on_any_text(answer: str, expected: str) -> None:
    assert {metric(answer, expected) for metric in METRICS.values()} <= {0.0, 1.0}


@given(st.text())
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text)
    assert exact(text, text) == float(bool(text.strip()))
    assert normalise(once) == once or len(normalise(once)) < len(once)
