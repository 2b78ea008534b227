"""A limit takes questions from all categories alike."""

from hypothesis import given
from hypothesis import strategies as st

from eval.engine.benchmark import Question, first_of_each


def test_a_limit_takes_from_the_categories_in_turn_and_keeps_the_order() -> None:
    questions = [Question(f"{c}{n}", c, ("?",)) for c in "ab" for n in range(3)]

    assert [each.id for each in first_of_each(questions, 3)] == ["a0", "a1", "b0"]


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(min_value=1, max_value=40))
def test_no_category_gets_two_more_than_another_that_has_some_left(names: list[str], limit: int) -> None:
    questions = [Question(str(place), name, ("?",)) for place, name in enumerate(names)]

    kept = [each.category for each in first_of_each(questions, limit)]

    assert len(kept) == min(limit, len(names))
    unfinished = [kept.count(name) for name in set(names) if kept.count(name) < names.count(name)]
    assert max((kept.count(name) for name in set(names)), default=0) - min(unfinished, default=10**6) <= 1
