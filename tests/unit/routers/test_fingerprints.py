"""Fingerprints recognise a prompt and its near copies, belong to one composition, and hold no text."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.composition import save_composition
from routers.fingerprints import (
    FILE,
    FingerprintError,
    fingerprints_of,
    jaccard,
    load_fingerprints,
    normalised,
    signature,
    text_digest,
    write_fingerprints,
)
from tests.unit.routers.world import card, composition

PROMPT = "Write a Python function that reverses a singly linked list in place, and explain its complexity."


def grams(text: str) -> set[str]:
    padded = f" {normalised(text)} "
    return {padded[at : at + 5] for at in range(len(padded) - 4)}


def folder_with_composition(folder: Path) -> Path:
    save_composition(composition((card("one", 1.0),), [[0.5]], categories=("coding",)), folder)
    return folder


@pytest.mark.parametrize("same", [PROMPT.upper(), f"  {PROMPT}\n", PROMPT.replace(" ", "\n\t"), PROMPT[:-1]])
def test_case_blanks_and_punctuation_do_not_make_another_prompt(same: str) -> None:
    assert text_digest(same) == text_digest(PROMPT)


def test_texts_without_words_are_told_apart() -> None:
    assert text_digest("?!") != text_digest("...")
    assert signature("").shape == (128,)


@given(st.text(max_size=300))
def test_any_text_has_a_digest_and_a_signature_and_is_like_itself(text: str) -> None:
    assert len(text_digest(text)) == 16
    assert jaccard(signature(text), signature(text)) == pytest.approx(1.0)


def test_signatures_estimate_the_jaccard_similarity_of_five_grams() -> None:
    words = PROMPT.split()
    errors = []
    for cut in range(1, len(words)):
        other = " ".join(words[cut:] + [f"word{cut}"] * (cut % 3))
        true = len(grams(PROMPT) & grams(other)) / len(grams(PROMPT) | grams(other))
        errors.append(float(jaccard(signature(PROMPT), signature(other))) - true)
    assert np.abs(errors).max() < 0.15
    assert abs(np.mean(errors)) < 0.04


def test_the_most_similar_of_many_is_found() -> None:
    others = [f"What is the capital of country number {number}?" for number in range(200)]
    many = fingerprints_of([*others, PROMPT])
    similar = jaccard(fingerprints_of([f"{PROMPT} Please."]).signatures, many.signatures)
    assert similar.argmax() == 200
    assert similar[200] > 0.8


def test_embeddings_keep_their_direction() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kept = fingerprints_of([str(each) for each in range(20)], vectors).embeddings()
    assert (kept * vectors).sum(axis=1).min() > 0.999


def test_they_are_read_back_as_written_and_hold_no_text(tmp_path: Path) -> None:
    folder = folder_with_composition(tmp_path / "c")
    assert load_fingerprints(folder) is None
    made = fingerprints_of([PROMPT, "hello"], np.eye(2, 8, dtype=np.float32))
    write_fingerprints(folder, made)
    found = load_fingerprints(folder)
    assert found is not None
    assert found.known == {text_digest(PROMPT), text_digest("hello")}
    assert np.array_equal(found.signatures, made.signatures)
    assert np.array_equal(found.vectors, made.vectors)
    assert b"linked" not in (folder / FILE).read_bytes()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_those_of_another_composition_are_refused(tmp_path: Path) -> None:
    folder = folder_with_composition(tmp_path / "c")
    write_fingerprints(folder, fingerprints_of([PROMPT]))
    manifest = folder / "composition.json"
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(FingerprintError, match="another composition"):
        load_fingerprints(folder)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    folder = folder_with_composition(tmp_path / "c")
    (folder / FILE).write_bytes(b"rubbish")
    with pytest.raises(FingerprintError, match="no fingerprints"):
        load_fingerprints(folder)


def test_two_sets_join_and_lose_embeddings_that_only_one_has() -> None:
    one = fingerprints_of(["a b"], np.eye(1, 4, dtype=np.float32))
    assert one.concatenate(fingerprints_of(["c d"], np.eye(1, 4, dtype=np.float32))).vectors.shape == (2, 4)
    assert one.concatenate(fingerprints_of(["c d"])).vectors.shape == (2, 0)
    assert one.concatenate(fingerprints_of([])).vectors.shape == (1, 4)


def test_sums_that_differ_in_their_operator_are_different_prompts() -> None:
    assert len({text_digest(f"What is 12 {sign} 3?") for sign in "+-*/%"}) == 5


def test_a_file_whose_content_was_changed_is_refused(tmp_path: Path) -> None:
    folder = folder_with_composition(tmp_path / "c")
    write_fingerprints(folder, fingerprints_of([PROMPT]))
    content = bytearray((folder / FILE).read_bytes())
    content[-1] ^= 0x5A
    (folder / FILE).write_bytes(content)
    with pytest.raises(FingerprintError, match="damaged"):
        load_fingerprints(folder)
