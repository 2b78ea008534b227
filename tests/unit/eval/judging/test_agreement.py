"""Agreement beyond chance, against worked examples."""

import pytest

from eval.judging.agreement import cohen_kappa, fleiss_kappa, spearman


def test_cohens_kappa_of_a_textbook_table() -> None:
    # 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: observed 0.7, expected 0.5.
    first = ["y"] * 25 + ["n"] * 25
    second = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15

    assert cohen_kappa(first, second) == pytest.approx(0.4)


def test_weighted_kappa_forgives_neighbours() -> None:
    first, second = [1, 2, 3, 4, 5], [2, 3, 4, 5, 5]

    weighted = cohen_kappa(first, second, order=[1, 2, 3, 4, 5])
    plain = cohen_kappa(first, second)

    assert weighted is not None and plain is not None
    assert weighted > 0.7 > plain


def test_fleiss_kappa_of_the_table_in_fleiss_1971() -> None:
    # Table 1 as it is usually reprinted: 10 subjects, 14 raters, 5 categories.
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    ratings = [[c for c, count in enumerate(row) for _ in range(count)] for row in table]

    assert fleiss_kappa(ratings) == pytest.approx(0.210, abs=0.001)


def test_nothing_to_agree_on_is_no_number() -> None:
    assert cohen_kappa([], []) is None
    assert cohen_kappa(["a", "a"], ["a", "a"]) is None
    assert fleiss_kappa([]) is None
    assert fleiss_kappa([["a"], ["b"]]) is None
    assert fleiss_kappa([["a", "a"]]) is None
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 1, 1], [1, 2, 3]) is None


def test_spearman_shares_ranks_of_ties() -> None:
    assert spearman([1, 2, 3], [10, 20, 90]) == pytest.approx(1.0)
    assert spearman([1, 2, 2, 3], [3, 2, 2, 1]) == pytest.approx(-1.0)
    assert spearman([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)
