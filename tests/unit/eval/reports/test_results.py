"""Numbers of a run do not depend on the order in which its answers came."""

import random

from eval.engine.items import RunItem
from eval.reports.results import _comparisons, mean_interval


def items(name: str, seed: int) -> list[RunItem]:
    draw = random.Random(seed)
    return [
        RunItem(question=f"q-{number}", category="math", contestant=name, score=draw.random(), turns=())
        for number in range(40)
    ]


def test_an_interval_is_the_same_in_any_order() -> None:
    values = [each.score or 0.0 for each in items("a", 1)]
    assert mean_interval(values) == mean_interval(values[::-1])


def test_comparisons_are_the_same_in_any_order() -> None:
    ours, theirs = items("a", 1), items("b", 2)
    assert _comparisons({"a": ours, "b": theirs}) == _comparisons({"a": ours[::-1], "b": theirs})
