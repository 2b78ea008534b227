"""A description says what is in a table, what is missing, and how sure the best of each category is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.describe import CategorySummary, Description, describe
from routers.outcome_table import OutcomeTable
from tests.unit.routers.world import card

NAN = float("nan")


def table(
    scores: list[list[float]], categories: list[str] | None = None, prompts: list[str] | None = None
) -> OutcomeTable:
    rows = len(scores)
    matrix = np.asarray(scores, dtype=np.float32).reshape(rows, -1)
    return OutcomeTable(
        tuple(f"p{row}" for row in range(rows)),
        tuple(categories or ["law"] * rows),
        tuple(prompts or [f"prompt {row}" for row in range(rows)]),
        tuple(card(name) for name in ("small", "large", "other")[: matrix.shape[1]]),
        matrix,
    )


def law(description: Description) -> CategorySummary:
    return next(each for each in description.categories if each.name == "law")


def test_means_errors_and_gaps_are_given_for_each_expert() -> None:
    small, large = describe(table([[0, 1], [1, NAN], [0.5, NAN]])).experts
    assert (small.scored, small.missing) == (3, 0)
    assert small.mean == pytest.approx(0.5)
    assert small.error == pytest.approx(0.5 / np.sqrt(3))
    assert (large.scored, large.missing, large.mean, large.error) == (1, 2, 1.0, None)


def test_the_best_of_a_category_leads_by_a_paired_margin() -> None:
    best = law(describe(table([[0.2, 0.4], [0.6, 0.8], [0.1, 0.3], [0.5, 0.7]])))
    assert (best.best, best.second) == ("large", "small")
    assert best.margin == pytest.approx(0.2)
    assert best.margin_error == pytest.approx(0, abs=1e-6)
    assert best.sure == 1


def test_a_lead_by_one_prompt_of_many_is_not_sure() -> None:
    scores = [[1.0, 0.0]] * 10 + [[0.0, 1.0]] * 11
    best = law(describe(table(scores)))
    assert best.best == "large"
    assert best.sure is not None and 0.4 < best.sure < 0.75


def test_two_experts_that_always_tie_are_sure_by_half() -> None:
    assert law(describe(table([[1, 1], [0, 0], [1, 1]]))).sure == pytest.approx(0.5)


def test_an_oracle_takes_each_prompts_best_and_the_category_oracle_each_categorys() -> None:
    found = describe(table([[1, 0], [1, 0], [0, 1], [1, 0]], ["law", "law", "math", "math"]))
    assert found.oracle == 1
    assert found.category_oracle == pytest.approx((1 + 1 + 0.5 + 0.5) / 4)
    assert found.best_single == "small"


def test_ties_at_the_top_are_counted_on_prompts_that_several_answered() -> None:
    found = describe(table([[1, 1, 0], [1, 1, 1], [1, 0, 0], [1, NAN, NAN]]))
    assert found.tied_at_top == pytest.approx(2 / 3)
    assert found.all_tied == pytest.approx(1 / 3)


def test_repeated_prompts_are_found_whatever_their_case_and_spaces() -> None:
    prompts = ["Sort a list", "sort  a LIST ", "other", "Sort a list"]
    found = describe(table([[1]] * 4, ["law", "math", "law", "law"], prompts)).duplicates
    assert (found.groups, found.extra, found.conflicting) == (1, 2, 1)
    assert found.examples == (("p0", "p1", "p3"),)


def test_a_category_that_nobody_answered_says_so() -> None:
    found = describe(table([[NAN, NAN], [1, 0]], ["law", "math"]))
    assert (law(found).best, law(found).sure, law(found).missing) == (None, None, 2)
    assert (found.unscored, found.missing) == (1, 2)
    assert found.category_oracle == 1


def test_with_a_single_expert_there_is_nobody_to_lead() -> None:
    found = describe(table([[1], [0]]))
    assert (law(found).best, law(found).second, law(found).margin, law(found).sure) == (
        "small",
        None,
        None,
        None,
    )
    assert found.tied_at_top is None


@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, NAN]), min_size=3, max_size=3), min_size=1, max_size=12)
)
def test_the_oracles_are_ordered_and_shares_are_shares(scores: list[list[float]]) -> None:
    found = describe(table(scores))
    for share in (found.tied_at_top, found.all_tied, law(found).sure):
        assert share is None or 0 <= share <= 1
    assert found.missing == sum(each.missing for each in found.experts)
    if found.oracle is not None and found.missing == 0:
        assert found.category_oracle is not None
        best = max(each.mean or 0.0 for each in found.experts)
        assert found.oracle >= found.category_oracle - 1e-6 >= best - 2e-6
