"""Paired comparison of contestants, within and across runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.engine.items import read_items
from eval.engine.manifest import ITEMS, RunError, RunFolder, contestants_of, find_run


def compare_contestants(names: Sequence[str], runs: Path) -> dict[str, Any]:
    """Compare the first of `names` with each other one; a name is `RUN` or `RUN:CONTESTANT`.

    Raises:
        RunError: unknown run or contestant, different benchmarks, or no question in common.
        ItemsError: a run's items are invalid.
    """
    import numpy as np

    from eval.rating.paired import compare, holm

    found = [_scores(name, runs) for name in names]
    first, *others = found
    comparisons, notes = [], []
    for other in others:
        if other.run.manifest.benchmark != first.run.manifest.benchmark:
            raise RunError(
                f"{first.name} is of {first.run.manifest.benchmark}, {other.name} of "
                f"{other.run.manifest.benchmark}: only contestants of one benchmark can be compared"
            )
        both = [question for question in first.scores if question in other.scores]
        if not both:
            raise RunError(f"{first.name} and {other.name} were marked on no question in common")
        for what in ("data", "protocol"):
            if getattr(first.run.manifest, what) != getattr(other.run.manifest, what):
                notes.append(f"{first.name} and {other.name} differ in {what}: see their manifests")
        left = len(first.scores) + len(other.scores) - 2 * len(both)
        if left:
            notes.append(
                f"{left} questions left out that only one of {first.name}, {other.name} was marked on"
            )
        pair = [np.array([each.scores[question] for question in both]) for each in (first, other)]
        comparisons.append(compare((first.name, pair[0]), (other.name, pair[1])).document())
    for each, p in zip(comparisons, holm([each["p_permutation"] for each in comparisons]), strict=True):
        each["p_holm"] = p
    return {"comparisons": comparisons, "notes": notes}


class _Scored:
    def __init__(self, name: str, run: RunFolder, scores: dict[str, float]) -> None:
        self.name = name
        self.run = run
        self.scores = scores


def _scores(text: str, runs: Path) -> _Scored:
    name, _, contestant = text.partition(":")
    run = find_run(name, runs)
    there = contestants_of(run.manifest.contestants)
    contestant = contestant or there[0]
    if contestant not in there:
        raise RunError(f"{run.manifest.id} has no contestant {contestant!r}; it has {', '.join(there)}")
    scores = {
        item.question: item.score
        for item in read_items(run.folder / ITEMS)
        if item.contestant == contestant and item.score is not None
    }
    return _Scored(f"{run.manifest.id}:{contestant}", run, scores)
