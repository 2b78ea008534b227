"""Words and phrases in text of any script."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.phrases import Keywords, contains_phrase, folded_text, words
from base.text_folding import fold, normalise
from tests.growth import grows_no_faster_than_linear


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("日本的首都是东京。", "东京"),
        ("答えはParisです", "paris"),
        ("답은 서울입니다.", "서울"),
        ("คำตอบคือกรุงเทพ", "กรุงเทพ"),
        ("第42条", "42"),
        ("「Ｐａｒｉｓ」", "Paris"),
        ("python写", "python"),
        ("वह दिल्ली में है", "दिल्ली"),
        ("ﬁve", "five"),
    ],
)
def test_an_answer_is_found_in_every_script(text: str, phrase: str) -> None:
    assert contains_phrase(text, phrase)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [("第142条", "42"), ("答案是3.42", "42"), ("x² + 1", "x2"), ("用party写", "art"), ("दिल्लीवाला", "दिल्ली")],
)
def test_a_part_of_a_word_or_number_is_not_found(text: str, phrase: str) -> None:
    assert not contains_phrase(text, phrase)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("two words - here", ["two", "words", "-", "here"]),
        ("我用python写。", ["我", "用", "python", "写"]),
        ("", []),
    ],
)
def test_a_text_falls_into_words(text: str, found: list[str]) -> None:
    assert words(text) == found


@given(st.text(max_size=60))
def test_folding_twice_changes_nothing_more(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert normalise(normalise(text)) == normalise(text)
    assert folded_text(folded_text(text)) == folded_text(text)


@given(st.text(max_size=40), st.text(max_size=10))
def test_what_is_found_stands_in_the_text(text: str, phrase: str) -> None:
    if contains_phrase(text, phrase):
        assert folded_text(phrase) in folded_text(text)


@pytest.mark.parametrize(
    "text", ["party" * 200_000, "用" * 1_000_000, "\u0301" * 200_000, "art't " * 150_000]
)
def test_a_long_text_takes_no_more_than_its_length(text: str) -> None:
    keywords = Keywords(["art", "发票", "re"])

    assert not keywords.found_in(folded_text(text))
    assert grows_no_faster_than_linear(lambda said: keywords.found_in(folded_text(said)), text)
