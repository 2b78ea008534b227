"""How much the votes of one API key count in what a refit learns.

A key has one vote on an answer, the mean of what it said. Of an expert's votes in a category, and then of all
that are left, no key gives more than a share, unless fewer keys vote than that takes: then all count alike,
and a key alone counts whole. Votes above it are left out, drawn by a digest; the second time may raise a
key's share of a category a little again. Knows nothing of tables.
"""

import hashlib
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

SHARE = 0.1
"""Most that one of many keys gives of the votes."""

Label = str | None
"""Of a key; None for votes without one, which count as one key's."""


class Vote(NamedTuple):
    """What a key thought of an answer of `expert` to a request of `category`."""

    answer: str
    key: Label
    category: str
    expert: str
    value: float
    """0..1."""


@dataclass(frozen=True, slots=True)
class VoteReport:
    """`largest`: of the keys that are not trusted, the one with the most votes; `gave` and `counted` are its
    shares of all votes, 0..1, before and after `left_out` votes were left out."""

    keys: int
    largest: Label
    gave: float
    counted: float
    left_out: int


def bound_votes(
    votes: Sequence[Vote], share: float = SHARE, trusted: Collection[str] = ()
) -> tuple[tuple[Vote, ...], VoteReport | None]:
    """The votes that count, and what was left out. Those of `trusted` keys all do. None: no votes."""
    cells: dict[tuple[str, str], list[Vote]] = defaultdict(list)
    for vote in votes:
        cells[vote.category, vote.expert].append(vote)
    kept = [vote for cell in cells.values() for vote in _bounded(cell, share, trusted)]
    kept = _bounded(kept, share, trusted)
    given, counted = (Counter(vote.key for vote in each) for each in (votes, kept))
    bound = {key: count for key, count in given.items() if key not in trusted}
    if not given:
        return (), None
    largest = max(bound or given, key=lambda key: (given[key], key or ""))
    report = VoteReport(
        keys=len(given),
        largest=largest,
        gave=given[largest] / len(votes),
        counted=counted[largest] / len(kept),
        left_out=len(votes) - len(kept),
    )
    return tuple(kept), report


def _bounded(votes: Sequence[Vote], share: float, trusted: Collection[str]) -> list[Vote]:
    by_key: dict[Label, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_key[vote.key].append(vote)
    counts = {key: len(each) for key, each in by_key.items()}
    most = _most(counts, max(share, 1 / max(1, len(counts))), trusted)
    return [
        vote
        for key, each in by_key.items()
        for vote in (each if key in trusted or len(each) <= most else sorted(each, key=_draw)[:most])
    ]


def _most(counts: Mapping[Label, int], share: float, trusted: Collection[str]) -> int:
    """The largest number of votes of a key with which none has more than `share` of what then counts."""
    fixed = sum(count for key, count in counts.items() if key in trusted)
    others = [count for key, count in counts.items() if key not in trusted]

    def taken(most: int) -> float:
        # Never falls as `most` grows; rounded, since thirds are no binary fractions.
        return round(most / (fixed + sum(min(count, most) for count in others)), 9)

    if not others:
        return 0
    return max(1, bisect_right(range(1, max(others) + 1), round(share, 9), key=taken))


def _draw(vote: Vote) -> bytes:
    return hashlib.sha256(vote.answer.encode()).digest()


def mean_by_answer(votes: Iterable[Vote]) -> dict[str, float]:
    """The mean vote on each answer, by its id: keys count alike."""
    values: dict[str, list[float]] = defaultdict(list)
    for vote in votes:
        values[vote.answer].append(vote.value)
    return {answer: sum(each) / len(each) for answer, each in values.items()}
