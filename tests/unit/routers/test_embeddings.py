"""Embeddings are computed once, and never wrongly reused."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from routers.embeddings import BLOCK, encode_cached
from routers.request import Matrix
from tests.unit.routers.world import BagOfWords

TEXTS = [f"text number {i}" for i in range(BLOCK + 44)]


class Interrupted(Exception):
    pass


class Breaks(BagOfWords):
    """Is interrupted at its second block."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def states(self, texts: Sequence[str]) -> Matrix:
        if self.encoded:
            raise Interrupted
        return super().states(texts)


class Revised(BagOfWords):
    revision = "2"


def test_the_cache_gives_what_the_encoder_gives(tmp_path: Path) -> None:
    plain = BagOfWords().encode(TEXTS)
    assert np.array_equal(encode_cached(BagOfWords(), TEXTS), plain)
    for _ in range(2):
        assert np.array_equal(encode_cached(BagOfWords(), TEXTS, tmp_path), plain)


def test_texts_keep_their_order_on_several_threads() -> None:
    many = [f"text number {i}" for i in range(5 * BLOCK)]
    assert np.array_equal(encode_cached(BagOfWords(), many, threads=4), BagOfWords().encode(many))


def test_nothing_is_encoded_twice(tmp_path: Path) -> None:
    encode_cached(BagOfWords(), TEXTS, tmp_path)
    again = BagOfWords()
    encode_cached(again, TEXTS, tmp_path)
    assert again.encoded == []


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    try:
        encode_cached(Breaks(), TEXTS, tmp_path, threads=1)
    except Interrupted:
        again = BagOfWords()
        encode_cached(again, TEXTS, tmp_path)
        assert again.encoded == TEXTS[BLOCK:]
    else:
        raise AssertionError("the first run was to be interrupted")


def test_a_changed_text_is_encoded_again_and_the_other_blocks_are_not(tmp_path: Path) -> None:
    encode_cached(BagOfWords(), TEXTS, tmp_path)
    changed = [*TEXTS[:-1], "something else"]
    again = BagOfWords()
    vectors = encode_cached(again, changed, tmp_path)
    assert again.encoded == changed[BLOCK:]
    assert np.array_equal(vectors[-1:], BagOfWords().encode(["something else"]))


def test_another_revision_of_the_encoder_starts_anew(tmp_path: Path) -> None:
    encode_cached(BagOfWords(), TEXTS, tmp_path)
    revised = Revised()
    encode_cached(revised, TEXTS, tmp_path, threads=1)
    assert revised.encoded == TEXTS


def test_texts_are_told_apart_wherever_they_are_cut(tmp_path: Path) -> None:
    encode_cached(BagOfWords(), ["a\0b"], tmp_path)
    assert encode_cached(BagOfWords(), ["a", "b"], tmp_path).shape[0] == 2


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    plain = encode_cached(BagOfWords(), TEXTS, tmp_path)
    first, second = sorted(tmp_path.iterdir())
    first.write_bytes(first.read_bytes()[:100])
    second.write_bytes(b"")
    assert np.array_equal(encode_cached(BagOfWords(), TEXTS, tmp_path), plain)


def test_a_file_that_was_being_written_is_ignored(tmp_path: Path) -> None:
    encode_cached(BagOfWords(), TEXTS, tmp_path)
    for path in tmp_path.iterdir():
        path.rename(path.with_name(f".partial-{path.name}"))
    again = BagOfWords()
    encode_cached(again, TEXTS, tmp_path, threads=1)
    assert again.encoded == TEXTS


def test_progress_is_told_after_each_block() -> None:
    told: list[tuple[int, int]] = []
    encode_cached(BagOfWords(), TEXTS, progress=lambda done, total: told.append((done, total)))
    assert told == [(BLOCK, len(TEXTS)), (len(TEXTS), len(TEXTS))]


def test_no_texts_have_no_vectors(tmp_path: Path) -> None:
    assert encode_cached(BagOfWords(), [], tmp_path).shape == (0, BagOfWords.dimension)
