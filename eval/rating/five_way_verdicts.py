"""The five-way verdict of Arena-Hard, as counts of wins, ties and losses.

A judge compares two answers, A and B, with one of five labels. Two games are played on each question,
with the answers' positions swapped; `outcome` of each is added up.
"""

from collections.abc import Iterable
from typing import NamedTuple

DECISIVE_WEIGHT = 3
"""How often a `>>` verdict counts (arena-hard-auto, commit efc012e: "WEIGHT = 3" of its show_result)."""

LABELS = ("A>>B", "A>B", "A=B", "B>A", "B>>A")

_POINTS = {"A>>B": DECISIVE_WEIGHT, "A>B": 1, "A=B": 0, "B>A": -1, "B>>A": -DECISIVE_WEIGHT}


class Counts(NamedTuple):
    """How often the rated model won, tied and lost; a decisive verdict counts three times."""

    win: float
    tie: float
    loss: float

    def plus(self, other: "Counts") -> "Counts":
        return Counts(self.win + other.win, self.tie + other.tie, self.loss + other.loss)


def outcome(label: str, *, model_is_a: bool, decisive_weight: float = DECISIVE_WEIGHT) -> Counts:
    """The counts of one game. `label` is one of LABELS; `decisive_weight` 1 makes the verdict three-way.

    Raises ValueError for another label: a judgment that cannot be read is no tie.
    """
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
