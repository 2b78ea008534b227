"""Arena-Hard's five-way verdicts as counts of wins, ties and losses, over two games with swapped
positions."""

from collections.abc import Iterable
from typing import NamedTuple

DECISIVE_WEIGHT = 3
"""Weight of a `>>` verdict (arena-hard-auto, commit efc012e, show_result)."""

LABELS = ("A>>B", "A>B", "A=B", "B>A", "B>>A")

_POINTS = {"A>>B": DECISIVE_WEIGHT, "A>B": 1, "A=B": 0, "B>A": -1, "B>>A": -DECISIVE_WEIGHT}


class Counts(NamedTuple):
    """Weighted wins, ties and losses of the rated model."""

    win: float
    tie: float
    loss: float

    def plus(self, other: "Counts") -> "Counts":
        return Counts(self.win + other.win, self.tie + other.tie, self.loss + other.loss)


def outcome(label: str, *, model_is_a: bool, decisive_weight: float = DECISIVE_WEIGHT) -> Counts:
    """The counts of one game; `decisive_weight` 1 makes the verdict three-way. Raises ValueError for a label
    that is not in LABELS."""
    if label not in _POINTS:
        raise ValueError(f"{label!r} is no verdict: it must be one of {', '.join(LABELS)}")
    points = _POINTS[label] if model_is_a else -_POINTS[label]
    if points == 0:
        return Counts(0, 1, 0)
    weight = decisive_weight if abs(points) == DECISIVE_WEIGHT else 1
    return Counts(weight, 0, 0) if points > 0 else Counts(0, 0, weight)


def total(games: Iterable[Counts]) -> Counts:
    """The sum of many games."""
    counts = Counts(0, 0, 0)
    for each in games:
        counts = counts.plus(each)
    return counts
