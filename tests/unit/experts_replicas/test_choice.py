"""The choice of a replica: a pure function, and what it must keep to."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from experts.replicas.choice import (
    ADAPTER,
    ANSWERING,
    TIE,
    Standing,
    choose,
    costs,
    replica_seeds,
    session_hash,
)

AMOUNT = st.floats(0, 500)


def standing(replicas: int, **fields: Any) -> Standing:
    zero = np.zeros(replicas)
    defaults: dict[str, Any] = {
        **dict.fromkeys(("reading", "answering", "others", "stored", "usage"), zero),
        "capacity": np.full(replicas, 1000.0),
        "adapter_missing": np.zeros(replicas, np.bool_),
    }
    return Standing(**defaults | {name: np.asarray(value) for name, value in fields.items()})


def seeds(replicas: int) -> Any:
    return replica_seeds([f"http://replica-{number}/v1" for number in range(replicas)])


def test_an_idle_replica_costs_what_it_has_not_read() -> None:
    assert costs(40, np.array([0.0, 30.0]), standing(2)).tolist() == [40, 10]


def test_each_part_of_the_cost_counts_in_blocks() -> None:
    matched = np.zeros(2)
    for fields, more in (
        ({"reading": [0, 60]}, 30),
        ({"answering": [0, 3]}, 3 * ANSWERING),
        ({"others": [0, 2], "mean": 8.0}, 16),
        ({"stored": [0, 970]}, 5),
        ({"usage": [0, 0.98]}, 20),
        ({"adapter_missing": [False, True]}, ADAPTER),
    ):
        first, second = costs(40, matched, standing(2, **fields))
        assert (first, round(second, 6)) == (40, 40 + more), fields


def test_a_new_prompt_goes_where_nothing_is_evicted_for_it() -> None:
    """A short common beginning does not draw everything to one full cache."""
    cost = costs(50, np.array([4.0, 0.0]), standing(2, stored=[1000, 10]))
    assert cost[1] < cost[0]


@given(
    blocks=st.integers(0, 400),
    rows=st.lists(st.tuples(AMOUNT, AMOUNT, AMOUNT, st.floats(0, 1), st.booleans()), min_size=1, max_size=12),
    session=st.integers(0, 2**64 - 1),
    data=st.data(),
)
def test_the_choice_is_deterministic_usable_and_nearly_cheapest(
    blocks: int, rows: list[Any], session: int, data: Any
) -> None:
    n = len(rows)
    matched = np.array([data.draw(st.integers(0, blocks)) for _ in rows], float)
    usable = np.array([data.draw(st.booleans()) for _ in rows], bool)
    reading, answering, others, usage, missing = (np.array(each) for each in zip(*rows, strict=True))
    now = standing(
        n, reading=reading, answering=answering, others=others, usage=usage, adapter_missing=missing
    )
    cost = costs(blocks, matched, now)
    number = choose(cost, usable, session, seeds(n))
    assert number == choose(cost.copy(), usable.copy(), session, seeds(n))
    if not usable.any():
        assert number is None
    else:
        assert number is not None
        assert usable[number]
        assert cost[number] < cost[usable].min() + TIE


@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 11))
def test_having_read_more_never_makes_a_replica_dearer(blocks: int, read: int, replica: int) -> None:
    matched = np.zeros(12)
    before = costs(blocks, matched, standing(12, stored=np.full(12, 990.0)))[replica]
    matched[replica] = min(read, blocks)
    assert costs(blocks, matched, standing(12, stored=np.full(12, 990.0)))[replica] <= before


@given(st.integers(2, 20), st.integers(0, 19), st.text())
def test_when_a_replica_leaves_only_its_own_sessions_move(replicas: int, leaving: int, name: str) -> None:
    session, cost = session_hash(name), np.zeros(replicas)
    every = np.ones(replicas, bool)
    chosen = choose(cost, every, session, seeds(replicas))
    left = every.copy()
    left[leaving % replicas] = False
    if chosen != leaving % replicas:
        assert choose(cost, left, session, seeds(replicas)) == chosen


def test_sessions_are_spread_evenly() -> None:
    counts = np.bincount(
        [choose(np.zeros(8), np.ones(8, bool), session_hash(f"s{n}"), seeds(8)) or 0 for n in range(4000)]
    )
    assert counts.min() > 400
    assert counts.max() < 600
