"""The parts of a model's reply."""

import pytest

from base.reply_text import own_text
from tests.growth import grows_no_faster_than_linear


@pytest.mark.parametrize(
    ("reply", "left"),
    [
        ("a <think>b</think> c", "a  c"),
        ("<think>a</think>b<THINKING>c</thinking>d", "bd"),
        ("[THINK]a[/THINK]b", "b"),
        ("◁think▷a◁/think▷b", "b"),
        ("<think>a [/THINK] b</think>c", "c"),
        ("<think>a<think>b</think>c", "c"),
        ("a</think>b", "b"),
        ("a<think>b", "a"),
        ("a<think>b</thinking>c", "c"),
        ("a < b", "a < b"),
    ],
)
def test_thinking_is_left_out(reply: str, left: str) -> None:
    assert own_text(reply) == left


@pytest.mark.parametrize("piece", ["<think>", "<think></thinking>", "[THINK]a"])
def test_a_reply_that_repeats_itself_takes_no_more_than_its_length(piece: str) -> None:
    assert grows_no_faster_than_linear(own_text, piece * (100_000 // len(piece)))
