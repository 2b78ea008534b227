"""What workers keep together: the same answers as the memory of one process gives, from several processes."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from limits import RateLimitItemPerSecond
from limits.strategies import MovingWindowRateLimiter

from app.serving.recent_experts import EXPERTS_PER_KEY, ConversationMemory, Seen, own_memory
from app.serving.shadow_budget import Budget, OwnBudget, SharedBudget
from app.serving.shared_experts import SharedMemory
from app.serving.shared_windows import SharedWindows
from app.storage.shared_store import RecentEntries, SharedStore

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
MARKS = [f"{number:032x}" for number in range(200)]
DAY = date(2026, 11, 29)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SharedStore]:
    store = SharedStore(tmp_path)
    yield store
    store.close()


@pytest.fixture(params=["own", "shared"])
def memory(request: pytest.FixtureRequest) -> ConversationMemory:
    if request.param == "own":
        return own_memory(100)
    return SharedMemory(request.getfixturevalue("store"), 100)


def seen(expert: str, minute: int = 0, category: str | None = "coding") -> Seen:
    return Seen(expert, category, NOON + timedelta(minutes=minute, microseconds=123_457))


def test_an_answer_is_found_by_all_that_it_is_known_by(memory: ConversationMemory) -> None:
    memory.put(seen("coder"), ("desk", "dec_1"), ("desk", "named"), MARKS[:2])
    for found in (
        memory.by_decision.get(("desk", "dec_1")),
        memory.by_name.get(("desk", "named")),
        memory.by_mark.get(MARKS[0]),
        memory.by_mark.get(MARKS[1]),
    ):
        assert found == (seen("coder"),)
    assert MARKS[0] in memory.by_mark
    assert MARKS[2] not in memory.by_mark
    # A key's label, a name and a decision are different things, whatever they spell.
    assert not memory.by_name.get(("desk", "dec_1"))
    assert not memory.by_name.get((None, "named"))
    assert not memory.by_decision.get(("desk", "named"))


def test_the_latest_of_several_experts_is_first_whoever_was_put_last(memory: ConversationMemory) -> None:
    for number, minute in enumerate((3, 1, 5, 2, 4)):
        memory.by_mark.put(MARKS[:1], seen(f"expert {number}", minute, None))
    found = memory.by_mark.get(MARKS[0])
    assert [each.expert for each in found] == ["expert 2", "expert 4", "expert 0", "expert 3"]
    assert len(found) == EXPERTS_PER_KEY
    memory.by_mark.put(MARKS[:1], seen("expert 3", 9))
    assert [each.expert for each in memory.by_mark.get(MARKS[0])][:2] == ["expert 3", "expert 2"]


def test_of_many_keys_the_latest_are_kept_and_the_file_stays_small(store: SharedStore) -> None:
    bound = 50
    entries = RecentEntries(store, "some", bound)
    for number in range(1_000):
        entries.change([number.to_bytes(4, "big")], lambda _: b"x")
        latest = range(max(0, number - bound + 1), number + 1)
        assert all(entries.get(each.to_bytes(4, "big")) for each in latest)
    kept = sum(entries.get(number.to_bytes(4, "big")) is not None for number in range(1_000))
    assert kept <= 2 * bound + 1


def test_a_shared_window_grants_what_a_window_in_memory_does(store: SharedStore) -> None:
    item = RateLimitItemPerSecond(5, 3_600)
    limiter = MovingWindowRateLimiter(SharedWindows(store))
    assert limiter.test(item, "key", "desk", cost=5)
    assert not limiter.test(item, "key", "desk", cost=6)
    assert not limiter.hit(item, "key", "desk", cost=6)
    assert limiter.hit(item, "key", "desk", cost=3)
    assert not limiter.hit(item, "key", "desk", cost=3)
    assert limiter.hit(item, "key", "desk", cost=2)
    assert not limiter.hit(item, "key", "desk")
    assert limiter.hit(item, "key", "batch")
    reset, left = limiter.get_window_stats(item, "key", "desk")
    assert (left, 3_590 < reset - datetime.now().timestamp() <= 3_600) == (0, True)
    limiter.clear(item, "key", "desk")
    assert limiter.test(item, "key", "desk", cost=5)


def test_what_a_window_has_let_go_is_there_again(store: SharedStore) -> None:
    windows = SharedWindows(store)
    assert windows.acquire_entry("key", 2, 3_600, 2)
    assert not windows.acquire_entry("key", 2, 3_600)
    # In a window of no length all that was taken is past.
    assert windows.get_moving_window("key", 2, 0)[1] == 0
    assert windows.acquire_entry("key", 2, 0, 2)
    assert windows.get_moving_window("key", 2, 3_600)[1] == 2


def _take(folder: str) -> int:
    store = SharedStore(Path(folder))
    windows, budget = SharedWindows(store), SharedBudget(store, 100, 1.0)
    granted = sum(windows.acquire_entry("key", 100, 3_600) for _ in range(100))
    reserved = sum(budget.reserve(1, 0.001, DAY) for _ in range(100))
    store.close()
    return granted * 1_000 + reserved


def test_processes_together_are_granted_what_there_is(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as pool:
        taken = list(pool.map(_take, [str(tmp_path)] * 3))
    assert sum(each // 1_000 for each in taken) == 100
    assert sum(each % 1_000 for each in taken) == 100


@pytest.mark.parametrize("kind", ["own", "shared"])
def test_a_budget_is_a_days(kind: str, store: SharedStore) -> None:
    budget: Budget = OwnBudget(100, 1.0) if kind == "own" else SharedBudget(store, 100, 1.0)
    budget.begin(DAY, 40, 0.1)
    assert not budget.reserve(61, 0.0, DAY)
    assert not budget.reserve(1, 0.95, DAY)
    assert budget.reserve(60, 0.5, DAY)
    assert not budget.reserve(1, 0.0, DAY)
    budget.settle(DAY, -20, -0.4)
    assert budget.reserve(20, 0.7, DAY)
    assert budget.reserve(100, 1.0, DAY + timedelta(days=1))
