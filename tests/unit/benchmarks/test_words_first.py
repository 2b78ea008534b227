from math import inf

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.words_first import decided_by_words


def test_the_words_decide_down_to_the_confidence_at_which_too_few_decisions_would_agree() -> None:
    confidence = np.asarray([0.9, 0.6, 0.8, 0.7, 0.5], dtype=np.float32)
    agrees = np.asarray([True, True, True, False, False])
    assert decided_by_words(confidence, agrees, target=1.0) == np.float32(0.8)
    assert decided_by_words(confidence, agrees, target=0.8) == np.float32(0.6)
    assert decided_by_words(confidence, agrees, target=0.6) == np.float32(0.5)


def test_nothing_is_decided_by_words_that_are_wrong_where_they_are_surest() -> None:
    assert decided_by_words(np.asarray([0.9, 0.9], dtype=np.float32), np.asarray([False, True]), 1.0) == inf


@given(
    st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.7, 0.9]), st.booleans()), min_size=1),
    st.sampled_from([0.5, 0.9, 0.995, 1.0]),
)
def test_the_target_holds_for_all_requests(rows: list[tuple[float, bool]], target: float) -> None:
    confidence = np.asarray([row[0] for row in rows], dtype=np.float32)
    agrees = np.asarray([row[1] for row in rows])
    cheap = confidence >= decided_by_words(confidence, agrees, target)
    assert 1 - (cheap & ~agrees).mean() >= target - 1e-9
