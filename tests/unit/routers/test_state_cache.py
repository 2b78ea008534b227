from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from routers.state_cache import CachedStates
from tests.unit.routers.world import BagOfWords


def test_a_repeated_text_is_read_once_and_gives_the_same_states() -> None:
    plain = BagOfWords()
    cached = CachedStates(plain, 8)
    first, again = cached.states(["why is the sky blue"]), cached.states(["why is the sky blue"])
    assert plain.encoded == ["why is the sky blue"]
    assert np.array_equal(first, again)
    assert np.array_equal(first, BagOfWords().states(["why is the sky blue"]))
    assert np.array_equal(cached.encode(["why is the sky blue"]), first[:, : plain.dimension])


def test_the_text_that_was_asked_longest_ago_is_forgotten() -> None:
    plain = BagOfWords()
    cached = CachedStates(plain, 2)
    for text in ("one", "two", "one", "three", "one", "two"):
        cached.states([text])
    assert plain.encoded == ["one", "two", "three", "two"]


def test_texts_in_bulk_displace_nothing() -> None:
    plain = BagOfWords()
    cached = CachedStates(plain, 2)
    cached.states(["one"])
    assert len(cached.states([f"text {number}" for number in range(9)])) == 9
    cached.states(["one"])
    assert plain.encoded.count("one") == 1


def test_without_entries_nothing_is_kept() -> None:
    plain = BagOfWords()
    cached = CachedStates(plain, 0)
    cached.states(["one"])
    cached.states(["one"])
    assert plain.encoded == ["one", "one"]


def test_what_is_kept_cannot_be_changed() -> None:
    cached = CachedStates(BagOfWords(), 2)
    with pytest.raises(ValueError, match="read-only"):
        cached.states(["one"])[0, 0] = 2


def test_threads_share_it() -> None:
    texts = [f"text {number % 7}" for number in range(200)]
    cached = CachedStates(BagOfWords(), 3)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: cached.states([text]), texts))
    expected = BagOfWords().states(texts)
    assert np.array_equal(np.concatenate(found), expected)
