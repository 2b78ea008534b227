"""Checks on MT-Bench's closed first turns: right answers pass as models word them, wrong ones do not."""

import pytest

from eval.checks import score
from eval.protocols.mt_bench_checkable import load_checks

RIGHT = {
    "101": "You are now in second place; the person you overtook is third.",
    "104": "David has no brothers: he himself is the one brother of his sisters.",
    "105": "So the secretary is Cheryl.",
    "106": "True.",
    "107": "A is the grandfather of C.",
    "110": "The aides should report situation c).",
    "111": "The area is 3 square units.",
    "112": "In total they invested $12,000.",
    "113": "The probability is 1 - 0.81 = 0.19, or 19%.",
    "114": "P = 35/36",
    "115": "Therefore 38 people got on at the terminal.",
    "116": "So x - y = 0",
    "117": "There are 19 integers.",
    "118": "The remainder is 0.",
    "119": "The total cost is $280.",
    "120": "f(2) = 0",
    "131": "```json\n[5, 1, 3]\n```",
    "132": "Literature\nHistory\nScience\nArt",
    "134": "Company V had the highest profit; its CEO is Lisa Brown.",
}
WRONG = {
    "101": "You are in first place.",
    "104": "David has one brother.",
    "106": "The third statement is false.",
    "110": "b) Two boys",
    "115": "The answer is 46.",
    "131": "[5, 2, 3]",
    "134": "Company W, James Smith",
}


@pytest.mark.parametrize("question", RIGHT)
def test_a_right_answer_scores_one(question: str) -> None:
    assert score(load_checks()[question], RIGHT[question]) == 1.0


@pytest.mark.parametrize("question", WRONG)
def test_a_wrong_answer_scores_nothing(question: str) -> None:
    assert score(load_checks()[question], WRONG[question]) == 0.0


def test_every_check_is_tried_here() -> None:
    assert set(load_checks()) == set(RIGHT)
