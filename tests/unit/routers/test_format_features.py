"""The format part notices what a text looks like, and stands any text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.format_features import COUNT, NAMES, format_part, is_multiple_choice


def feature(text: str, name: str) -> float:
    return float(format_part(text)[NAMES.index(name)])


@given(st.text(max_size=300))
def test_any_text_gives_finite_numbers(text: str) -> None:
    found = format_part(text)
    assert found.shape == (COUNT,)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


@pytest.mark.parametrize("text", ["", "\ud800", "9" * 500, "A) " * 50, "\n" * 1000, "1. x\n" * 3000])
def test_odd_texts_give_finite_numbers(text: str) -> None:
    assert np.isfinite(format_part(text)).all()


def test_names_are_unique() -> None:
    assert len(set(NAMES)) == COUNT


def test_options_are_counted_and_measured() -> None:
    question = "What is 2 + 2?\nA. 3\nB. 4\nC. 5\nD. 22"
    assert feature(question, "options") == 4
    assert feature(question, "options_four") == 1
    assert feature(question, "options_numeric") == 1
    assert feature(question, "stem_asks") == 1
    assert feature("What is 2 + 2?", "options_none") == 1


def test_multiple_choice_is_told_by_three_lettered_lines() -> None:
    assert is_multiple_choice("What is 2 + 2?\nA. 3\nB. 4\nC. 5")
    assert is_multiple_choice("Pick one:\n(A) tea\n(B) milk\n(C) water\n(D) juice")
    assert not is_multiple_choice("Two notes:\nA. Buy milk.\nB. Call Ann.")
    assert not is_multiple_choice("I like A, B and C. Which is best?")


def test_code_latex_clues_and_numbers_are_seen() -> None:
    assert feature("def f(x):\n    return x", "code_definitions") > 0
    assert feature(r"Find $\frac{1}{2}$", "latex_commands") > 0
    assert feature("There are 5 houses.\n1. One.\n2. Two.", "there_are") == 5
    assert feature("There are 5 houses.\n1. One.\n2. Two.", "numbered_lines") == pytest.approx(np.log(3))
    assert feature("He paid 12.5 and 300", "largest_number") == pytest.approx(np.log(301))
    assert feature("He paid 12.5 and 300", "decimals") == 1
