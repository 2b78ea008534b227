"""Oracle baselines of a run from experts that ran alone on the same questions: the best category map and the
best expert by question use the scores they are measured by, so they are bounds."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any


def hindsight(
    scores: Mapping[str, Mapping[str, float]], routed: Sequence[str], categories: Mapping[str, str]
) -> dict[str, Any] | None:
    """Random, best single expert, best category map and best by question, on the `n` questions scored for
    every contestant. `scores` by contestant and question, in 0..1. None without a routed contestant and two
    experts."""
    singles = [name for name in scores if name not in routed]
    if not routed or len(singles) < 2:
        return None
    common = sorted(set.intersection(*(set(each) for each in scores.values())))
    if not common:
        return None
    best = max(singles, key=lambda name: _mean([scores[name][question] for question in common]))
    by_category: dict[str, list[str]] = defaultdict(list)
    for question in common:
        by_category[categories[question]].append(question)
    mapped = sum(
        max(sum(scores[name][question] for question in questions) for name in singles)
        for questions in by_category.values()
    )
    return {
        "n": len(common),
        "best_single": best,
        "scores": {
            **{name: _mean([scores[name][question] for question in common]) for name in routed},
            "an expert at random": _mean([scores[name][question] for name in singles for question in common]),
            "best single expert": _mean([scores[best][question] for question in common]),
            "best category map, in hindsight": mapped / len(common),
            "best expert a question, in hindsight": _mean(
                [max(scores[name][question] for name in singles) for question in common]
            ),
        },
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
