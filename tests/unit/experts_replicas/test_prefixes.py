"""Prompts as chains of block hashes, and the record of which replica has read which."""

from hypothesis import given
from hypothesis import strategies as st

from experts.replicas.prefix_record import PrefixRecord
from experts.replicas.prompt_blocks import BLOCK_BYTES, MAX_BLOCKS, prompt_blocks

SYSTEM = {"role": "system", "content": "You answer questions about the manual. " * 40}
Chains = st.lists(st.lists(st.integers(0, 3), max_size=8), min_size=1, max_size=40)


def chain(path: list[int]) -> list[int]:
    """Hashes that stand for a path and all before it."""
    return [hash(tuple(path[: end + 1])) for end in range(len(path))]


def shared(one: list[int], other: list[int]) -> int:
    at = 0
    while at < min(len(one), len(other)) and one[at] == other[at]:
        at += 1
    return at


def test_requests_of_a_conversation_share_what_they_share() -> None:
    first = [SYSTEM, {"role": "user", "content": "What is a valve?" * 60}]
    second = [*first, {"role": "assistant", "content": "A part." * 50}, {"role": "user", "content": "And?"}]
    other = [SYSTEM, {"role": "user", "content": "Something else entirely. " * 60}]
    blocks, more, others = (prompt_blocks("m", {"messages": each}) for each in (first, second, other))
    assert more[: len(blocks)] == blocks
    assert 0 < shared(list(blocks), list(others)) < len(blocks)
    assert shared(list(blocks), list(others)) >= len(str(SYSTEM["content"])) // BLOCK_BYTES - 1


def test_another_model_shares_nothing() -> None:
    body = {"messages": [SYSTEM]}
    assert not set(prompt_blocks("base", body)) & set(prompt_blocks("adapter", body))


def test_tools_stand_before_messages_and_sampling_does_not_count() -> None:
    body = {"messages": [SYSTEM], "temperature": 0.5}
    assert prompt_blocks("m", body) == prompt_blocks("m", {**body, "temperature": 1})
    tools = {**body, "tools": [{"type": "function", "function": {"name": "f"}}]}
    assert not set(prompt_blocks("m", tools)) & set(prompt_blocks("m", body))


def test_every_dialect_has_blocks_and_a_short_or_endless_prompt_is_bounded() -> None:
    text = "word " * 200
    for body in ({"prompt": text}, {"input": text, "instructions": text}, {"system": text, "messages": []}):
        assert prompt_blocks("m", body)
    assert prompt_blocks("m", {"prompt": "hi"}) == ()
    assert len(prompt_blocks("m", {"prompt": "x" * 2 * MAX_BLOCKS * BLOCK_BYTES})) == MAX_BLOCKS


@given(Chains, st.lists(st.integers(0, 3), max_size=8), st.integers(1, 9))
def test_the_record_finds_the_longest_prefix_that_each_replica_has_read(
    paths: list[list[int]], asked: list[int], replicas: int
) -> None:
    record = PrefixRecord(replicas)
    for number, path in enumerate(paths):
        record.note(number % replicas, chain(path))
    expected = [
        max((shared(asked, path) for path in paths[replica::replicas]), default=0)
        for replica in range(replicas)
    ]
    assert record.matched(chain(asked)).tolist() == expected


@given(Chains, st.integers(1, 6))
def test_the_record_is_bounded_and_what_is_left_are_beginnings(paths: list[list[int]], capacity: int) -> None:
    record = PrefixRecord(2, capacity)
    for path in paths:
        record.note(0, chain(path))
        assert record.stored[0] <= capacity
    last = paths[-1]
    assert record.matched(chain(last))[0] == min(len(last), capacity)
    record.forget(0)
    assert record.matched(chain(last)).tolist() == [0, 0]
    assert record.stored.tolist() == [0, 0]


def test_the_servers_own_bound_counts_where_it_is_smaller() -> None:
    record = PrefixRecord(2)
    record.note(0, range(100))
    record.resize(0, 10)
    assert record.stored[0] == 10
    assert record.matched(range(100)).tolist() == [10, 0]
