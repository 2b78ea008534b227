"""Votes on closed questions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.final_answers import Kind, closed_answer, kind_of_question, likeness, vote


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Pick one.\nA) red\nB) blue", "choice"),
        ("Options: (A) red (B) blue", "choice"),
        ("Is 7 prime? Answer yes or no.", "yes_no"),
        ("7是质数吗？请回答是或否。", "yes_no"),
        ("Ist 7 eine Primzahl? Antworte ja oder nein.", "yes_no"),
        ("How many legs has a spider?", "number"),
        ("What is 12 * 7?", "number"),
        ("Reply with one word: the capital of France.", "words"),
        ("选一个：A．苹果 B．香蕉", "choice"),
        ("正しいのはどれ？（Ａ）りんご（Ｂ）みかん", "choice"),
        ("哪个对？A、苹果\nB、香蕉", "choice"),
        ("Write a poem about autumn.", None),
        ("Explain plan A. Then stop.", None),
    ],
)
def test_what_kind_of_answer_a_question_wants(text: str, kind: str | None) -> None:
    assert kind_of_question([{"role": "user", "content": text}]) == kind


def test_the_last_user_turn_is_the_question() -> None:
    turns = [
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "Tell me a story."},
    ]
    assert kind_of_question(turns) is None
    assert kind_of_question([]) is None


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("choice", "The answer is B.", "B"),
        ("number", "It costs 1,200.0 in all", "1200"),
        ("yes_no", "Yes, it is.", "**True**"),
        ("yes_no", "是的。", "Ja, natürlich."),
        ("yes_no", "不是", "Нет."),
        ("yes_no", "いいえ、違います。", "Non !"),
        ("yes_no", "아니요.", "No"),
        ("yes_no", "हाँ, सही है।", "yes"),
        ("words", "Paris.", "paris"),
    ],
)
def test_equal_answers_have_one_form(kind: Kind, one: str, other: str) -> None:
    assert closed_answer(kind, one) == closed_answer(kind, other) is not None


@pytest.mark.parametrize(
    ("kind", "reply", "answer"),
    [
        ("number", "42\n" + "That is 6 times 7. " * 5_000, "42"),
        ("number", "It grows by 3. " * 5_000 + "The answer is 42.", "42"),
        ("number", "a " * 2_000 + "The answer is 42." + " and 7" * 5_000, "7"),
        ("choice", "It depends. " * 5_000 + "So the answer is B.", "B"),
        ("yes_no", "Yes. " + "It is so, and not otherwise. " * 5_000, "yes"),
    ],
)
def test_a_long_reply_is_read_at_its_beginning_and_its_end(kind: Kind, reply: str, answer: str) -> None:
    assert closed_answer(kind, reply) == answer


def test_thinking_is_left_out_however_long() -> None:
    assert closed_answer("number", "<think>" + "Perhaps 5. " * 5_000 + "</think>42") == "42"
    assert closed_answer("number", "<think>" + "Perhaps 5. " * 5_000) is None


def test_what_is_no_answer_counts_for_nothing() -> None:
    assert closed_answer("words", "This is far too long to be one of those brief answers.") is None
    assert closed_answer("yes_no", "It depends.") is None
    assert vote([None, None], [1, 1]) is None


def test_texts_without_blanks_are_alike_by_their_characters() -> None:
    assert likeness("東京は日本の首都です", "日本の首都は東京です") > 0.9
    assert likeness("東京", "りんご") == 0
    assert closed_answer("words", "アムステルダム。") == "アムステルダム"
    assert closed_answer("words", "これはとても長いので短い答えの一つとは言えないと思います。") is None


def test_the_heavier_side_wins_and_its_first_voice_stands_for_it() -> None:
    result = vote(["A", "B", "B", None], [1.0, 0.6, 0.6, 5.0])
    assert result is not None
    assert (result.winner, round(result.share, 3)) == (1, 0.545)


def test_of_equal_sides_the_first_wins() -> None:
    result = vote(["A", "B"], [1.0, 1.0])
    assert result is not None
    assert result.winner == 0


@given(st.text(), st.text())
def test_likeness_is_a_symmetric_share(one: str, other: str) -> None:
    assert likeness(one, other) == likeness(other, one)
    assert 0 <= likeness(one, other) <= 1
    assert likeness(one, one) == 1
