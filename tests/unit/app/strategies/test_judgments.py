"""What judges say of answers, read without guessing."""

import pytest

from app.strategies.judgments import chosen_number


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("2", 2),
        ("**2**", 2),
        ("２", 2),
        ("Answer 2 is best.", 2),
        ("The best answer is number 3.", 3),
        ("答案2", 2),
        ("<think>1 or 2?</think>\n2", 2),
        ("2. It gives 3 reasons", 2),
        ("1 or 2", None),
        ("1 and 2 are equal", None),
        ("Answer 1, answer 2", None),
        ("None of them", None),
        ("", None),
    ],
)
def test_the_number_of_the_best_answer_is_read(reply: str, number: int | None) -> None:
    assert chosen_number(reply) == number
