"""The router reads what the person said lately, the last turn whole."""

from hypothesis import given
from hypothesis import strategies as st

from routers.conversation import EARLIER_CHARACTERS, latest_user_text, routing_text
from routers.request import Turn


def chat(*said: str) -> list[Turn]:
    """User turns with answers in between."""
    turns = [Turn("system", "You are terse.")]
    for text in said:
        turns += [Turn("user", text), Turn("assistant", "An answer.")]
    return turns[:-1]


def test_one_turn_is_read_as_it_is() -> None:
    assert routing_text(chat("Hello there")) == "Hello there"


def test_a_short_follow_up_is_read_with_what_came_before() -> None:
    assert routing_text(chat("Sort a list in Python", "and in Rust?")) == (
        "Sort a list in Python\nand in Rust?"
    )


def test_only_the_recent_turns_are_read() -> None:
    assert routing_text(chat("one", "two", "three", "four"), recent_turns=3) == "two\nthree\nfour"
    assert routing_text(chat("one", "two"), recent_turns=1) == "two"


def test_of_a_long_earlier_turn_only_the_beginning_is_read() -> None:
    assert routing_text(chat("x" * 1_000, "shorter please")) == (
        "x" * EARLIER_CHARACTERS + "\nshorter please"
    )


def test_a_long_last_turn_speaks_for_itself_and_is_read_whole() -> None:
    long = "y" * (EARLIER_CHARACTERS + 1)
    assert routing_text(chat("one", long)) == long


def test_neither_system_messages_nor_answers_are_read() -> None:
    text = routing_text(chat("one", "two"))
    assert "terse" not in text
    assert "answer" not in text


def test_empty_turns_are_passed_over() -> None:
    assert routing_text([Turn("user", "hi"), Turn("user", "  ")]) == "hi"


def test_without_any_user_turn_the_last_turn_is_read() -> None:
    assert routing_text([Turn("system", "a"), Turn("assistant", "b")]) == "b"
    assert routing_text([]) == ""


def test_a_tools_result_does_not_hide_what_was_asked() -> None:
    turns = [*chat("What is the weather?"), Turn("assistant", ""), Turn("tool", "21 °C")]
    assert routing_text(turns) == "What is the weather?"
    assert latest_user_text(turns) == "What is the weather?"


@given(st.lists(st.text(), min_size=1, max_size=6), st.integers(1, 5))
def test_the_last_user_turn_is_always_read_whole(said: list[str], recent: int) -> None:
    latest = next((text for text in reversed(said) if text.strip()), said[-1])
    assert routing_text([Turn("user", text) for text in said], recent).endswith(latest.strip())
