"""The queue: callers in turn, two priorities, and whose place a newcomer takes."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.fair_queue import BATCH_TURN, FairQueue, Priority


def queue_of(*items: str, priority: Priority = "interactive") -> FairQueue[str]:
    """Items named after their caller: "a1" is a's."""
    queue: FairQueue[str] = FairQueue()
    for item in items:
        queue.push(item, item[0], priority)
    return queue


def test_callers_leave_in_turn_and_their_own_in_order() -> None:
    queue = queue_of("a1", "a2", "a3", "a4", "b1", "c1", "b2")
    assert [queue.pop() for _ in range(7)] == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]
    with pytest.raises(IndexError):
        queue.pop()


def test_interactive_goes_first_and_batch_does_not_starve() -> None:
    queue = queue_of(*("x0",) * 30)
    for _ in range(5):
        queue.push("batch", "b", "batch")
    order = [queue.pop() for _ in range(35)]
    assert order[:BATCH_TURN].count("batch") == 1
    assert order[: 2 * BATCH_TURN].count("batch") == 2
    assert order.count("batch") == 5


def test_one_that_was_tried_elsewhere_goes_before_its_callers_others() -> None:
    queue = queue_of("a1", "a2", "b1")
    queue.push("a0", "a", "interactive", first=True)
    assert [queue.pop() for _ in range(4)] == ["a0", "b1", "a1", "a2"]


def test_a_full_queue_makes_room_for_those_who_have_less_in_it() -> None:
    queue = queue_of("a1", "a2", "a3", "b1")
    assert queue.displaced("c", "interactive") == ("a3", "a", "interactive")
    assert queue.displaced("b", "interactive") == ("a3", "a", "interactive")
    assert queue.displaced("a", "interactive") is None
    assert queue.displaced("z", "batch") is None
    queue.push("z1", "z", "batch")
    assert queue.displaced("a", "interactive") == ("z1", "z", "batch")


def test_what_is_ahead_counts_turns() -> None:
    queue = queue_of("a1", "a2", "a3", "b1")
    assert queue.ahead("c", "interactive") == 2
    assert queue.ahead("b", "interactive") == 3
    assert queue.ahead("a", "interactive") == 4
    assert queue.ahead("z", "batch") == 4


def test_what_is_not_there_cannot_be_removed() -> None:
    queue = queue_of("a1")
    queue.remove("a1", "a", "interactive")
    assert not queue
    with pytest.raises(ValueError, match="queue"):
        queue.remove("a1", "a", "interactive")


@given(st.lists(st.sampled_from("abcd"), max_size=60))
def test_nobody_waits_for_more_than_one_turn_of_each_other(callers: list[str]) -> None:
    queue = queue_of(*(f"{caller}{number}" for number, caller in enumerate(callers)))
    left = [queue.pop() for _ in callers]
    assert Counter(left) == Counter(f"{caller}{number}" for number, caller in enumerate(callers))
    # While two callers both wait, one is never two items further than the other.
    for one in "abcd":
        for other in "abcd":
            counts = {one: 0, other: 0}
            for item in left:
                if item[0] in counts:
                    counts[item[0]] += 1
                if all(counts[each] < callers.count(each) for each in (one, other)):
                    assert abs(counts[one] - counts[other]) <= 1
