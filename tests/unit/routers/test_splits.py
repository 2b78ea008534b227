"""Folds are even, stratified, repeatable, and never part two copies of a prompt."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from routers.fitting.splits import assign_folds, distinct_prompts, fold_splits


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=10, max_size=120),
    st.integers(0, 5),
)
def test_copies_of_a_prompt_share_a_fold_and_folds_differ_by_one_prompt(
    rows: list[tuple[int, int]], seed: int
) -> None:
    prompts = [
        f" prompt {number} " if position % 2 else f"prompt {number}"
        for position, (number, _) in enumerate(rows)
    ]
    labels = np.asarray([label for _, label in rows], dtype=np.int64)
    folds = assign_folds(prompts, labels, seed=seed)
    assert (folds == assign_folds(prompts, labels, seed=seed)).all()
    of_text: dict[str, int] = {}
    for prompt, fold in zip(prompts, folds, strict=True):
        assert of_text.setdefault(prompt.strip(), int(fold)) == fold
    sizes = np.bincount(list(of_text.values()), minlength=5)
    assert sizes.max() - sizes.min() <= 1


def test_every_category_is_spread_over_all_folds() -> None:
    prompts = [f"p{row}" for row in range(100)]
    labels = np.repeat(np.arange(4), 25)
    folds = assign_folds(prompts, labels)
    for label in range(4):
        assert np.bincount(folds[labels == label], minlength=5).tolist() == [5] * 5
    assert sum(len(held) for _, held in fold_splits(folds)) == 100


def test_copies_count_once() -> None:
    assert distinct_prompts(["a", "a ", "b"], np.asarray([0, 0, 1]), 2).tolist() == [1, 1]
