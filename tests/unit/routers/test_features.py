"""The lexical part sees the instruction: forgiving of case and typos, at the text's two ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.encoder import DIMENSION
from routers.features import FIRST_WORDS, LAST_WORDS, LEXICAL, features_of, lexical_part
from tests.unit.routers.world import BagOfWords


def likeness(one: str, other: str) -> float:
    return float(lexical_part(one) @ lexical_part(other))


@given(st.text())
def test_any_text_has_a_unit_vector_or_none_at_all(text: str) -> None:
    vector = lexical_part(text)
    assert vector.shape == (LEXICAL,)
    assert vector.dtype == np.float32
    norm = float(np.linalg.norm(vector))
    assert norm == pytest.approx(1, abs=1e-5) or (norm == 0)


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_a_text_without_words_is_all_zeros(text: str) -> None:
    assert not lexical_part(text).any()


def test_case_makes_no_difference() -> None:
    assert np.array_equal(lexical_part("TRANSLATE this"), lexical_part("translate THIS"))


def test_spacing_makes_no_difference() -> None:
    assert np.array_equal(lexical_part("sum  it\nup "), lexical_part("sum it up"))


def test_a_typo_stays_near_and_another_verb_does_not() -> None:
    assert likeness("summarize this text", "sumarize this text") > 0.7
    assert likeness("summarize", "summarise") > 2 * likeness("summarize", "translate")


def test_of_a_long_text_the_head_and_the_tail_are_read() -> None:
    head = " ".join(f"h{i}" for i in range(FIRST_WORDS))
    tail = " ".join(f"t{i}" for i in range(LAST_WORDS))
    middle = " ".join(["middle"] * 1_000)
    assert np.array_equal(lexical_part(f"{head} {middle} {tail}"), lexical_part(f"{head} other {tail}"))
    assert not np.array_equal(lexical_part(f"{head} {middle} {tail}"), lexical_part(f"{head} {middle} t0"))
    assert not np.array_equal(lexical_part(f"{head} {middle} {tail}"), lexical_part(f"h0 {middle} {tail}"))


def test_one_endless_word_is_read_in_part() -> None:
    assert np.array_equal(lexical_part("a" * 1_000_000), lexical_part("a" * 100))


def test_half_a_surrogate_pair_is_no_error() -> None:
    assert np.linalg.norm(lexical_part("smile \ud83d")) == pytest.approx(1)


def test_features_are_the_embedding_with_the_lexical_part_behind_it() -> None:
    encoder = BagOfWords()
    texts = ["fix my code", "hello"]
    features = features_of(encoder, texts)
    assert features.dtype == np.float32
    assert np.array_equal(features[:, :DIMENSION], encoder.encode(texts))
    assert np.array_equal(features[1, DIMENSION : DIMENSION + LEXICAL], lexical_part("hello"))


def test_no_texts_have_no_features() -> None:
    some, none = features_of(BagOfWords(), ["hello"]), features_of(BagOfWords(), [])
    assert none.shape == (0, some.shape[1])
