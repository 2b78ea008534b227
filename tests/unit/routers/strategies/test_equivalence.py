"""Replies say the same where their final answers are equal, or else where they are alike."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.request import Matrix
from routers.strategies.equivalence import answer_classes

CHOICE = "Which is a prime?\nA) 4\nB) 7\nC) 9\nAnswer with the letter."
OPEN = "Why is the sky blue?"
ANGLES = {"red": 0.0, "crimson": 0.3, "orange": 0.6, "blue": 1.5}


def embed(texts: Sequence[str]) -> Matrix:
    """Unit vectors at the angle of each colour."""
    return np.asarray([[np.cos(ANGLES[t]), np.sin(ANGLES[t])] for t in texts], dtype=np.float32)


def never(texts: Sequence[str]) -> Matrix:
    raise AssertionError("nothing is to be embedded")


@pytest.mark.parametrize(
    ("question", "replies", "classes"),
    [
        (CHOICE, ["B", "The answer is C.", "I think B) 7", None, ""], [0, 1, 0, -1, -1]),
        ("How many legs have two cows?", ["It is 8.", "8.0", "I cannot say."], [0, 0, -1]),
        ("Is 91 prime? Yes or no.", ["<think>Yes?</think>No, it is 7 x 13.", "no", "Yes"], [0, 0, 2]),
    ],
)
def test_closed_questions_are_compared_by_their_final_answers(
    question: str, replies: list[str | None], classes: list[int]
) -> None:
    assert answer_classes(replies, question, never, 0.9) == (classes, "final_answer")


def test_open_replies_are_compared_with_the_first_of_each_class() -> None:
    replies = ["red", "blue", "crimson", "orange"]
    assert answer_classes(replies, OPEN, embed, np.cos(0.4)) == ([0, 1, 0, 3], "likeness")


def test_a_failed_call_and_an_empty_reply_have_no_class() -> None:
    assert answer_classes([None, "red", "<think>hm</think>", "red"], OPEN, embed, 0.9)[0] == [-1, 1, -1, 1]


def test_without_a_threshold_only_equal_texts_say_the_same() -> None:
    assert answer_classes(["Blue light", "blue  light", "red"], OPEN, never, None)[1] == "text"
    assert answer_classes(["Blue", "blue", "red"], OPEN, never, None)[0] == [0, 0, 2]


@given(st.lists(st.sampled_from([*ANGLES, None, ""]), max_size=7), st.floats(0, 1))
def test_a_further_reply_leaves_the_classes_before_it(replies: list[str | None], threshold: float) -> None:
    whole, _ = answer_classes(replies, OPEN, embed, threshold)
    for count in range(len(replies)):
        assert answer_classes(replies[:count], OPEN, embed, threshold)[0] == whole[:count]
