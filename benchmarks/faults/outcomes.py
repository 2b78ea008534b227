"""What became of a fault, and what of it is promised."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.faults.callers import REFUSED, Seen

ELSEWHERE_S = 1.0
"""The next request is served by somebody else within this time, where there is somebody."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`next_s`: from the fault until the first text of the slowest of the next requests, seconds; None where
    none was answered. `elsewhere`: whether somebody else could answer them, so that `next_s` is bounded.
    `lost`: requests that neither were answered whole nor ended in an error. `missing`: answered requests
    whose decision is not in the database; at most `may_miss` of them by the settings."""

    fault: str
    seen: str
    next_s: float | None
    lost: int
    missing: int
    may_miss: int = 0
    elsewhere: bool = True

    @property
    def holds(self) -> bool:
        late = self.elsewhere and (self.next_s is None or self.next_s > ELSEWHERE_S)
        return not late and self.lost == 0 and self.missing <= self.may_miss


def told(seen: Sequence[Seen]) -> str:
    """What clients saw, as words: how many of each. Those that found nobody there asked again at once, so
    that their number says nothing."""
    counts = Counter(each.outcome for each in seen)
    words = [f"{count} {outcome}" for outcome, count in counts.most_common() if outcome != REFUSED]
    return ", ".join([*words, *([f"{REFUSED} meanwhile"] if counts[REFUSED] else [])])


def next_s(seen: Sequence[Seen], fault: float, callers: int) -> float | None:
    """Seconds from `fault` until the first text of the slowest of the next `callers` requests that were
    answered; both on the clock of `time.perf_counter`."""
    after = sorted((each for each in seen if each.whole and each.sent >= fault), key=lambda each: each.sent)
    return max((each.first - fault for each in after[:callers]), default=None)


def lost(seen: Sequence[Seen]) -> int:
    return sum(not each.whole and each.error is None for each in seen)
