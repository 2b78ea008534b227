"""Admission: never more in flight than an endpoint takes, never more waiting than it may have."""

import asyncio
from typing import Any

import pytest

from experts.admission import Admission, Caller, Load
from experts.errors import ExpertBusy, QueueFull
from experts.expert import Expert
from experts.fair_queue import Priority


def expert(**fields: Any) -> Expert:
    defaults = {"name": "a", "endpoint": "http://h/v1", "model": "m", "params_b": 1, "context_length": 8}
    return Expert.model_validate(defaults | {"max_in_flight": 2, "max_queued": 2} | fields)


async def test_the_bound_holds_and_those_who_wait_go_in_order() -> None:
    admission, small = Admission(), expert(max_queued=20)
    running, most, order = 0, 0, []

    async def work(number: int) -> None:
        nonlocal running, most
        async with admission.slot(small):
            running += 1
            most = max(most, running)
            order.append(number)
            await asyncio.sleep(0)
            running -= 1

    await asyncio.gather(*(work(number) for number in range(20)))
    assert most == 2
    assert order == list(range(20))
    assert admission.load(small) == Load(0, 0)


async def test_past_the_queue_the_answer_is_busy_at_once() -> None:
    admission, small = Admission(), expert()
    hold = asyncio.Event()

    async def work() -> None:
        async with admission.slot(small):
            await hold.wait()

    tasks = [asyncio.create_task(work()) for _ in range(4)]
    await asyncio.sleep(0.01)
    assert admission.load(small) == Load(in_flight=2, queued=2)
    with pytest.raises(ExpertBusy, match=r"2 .*2 wait") as caught:
        await work()
    assert caught.value.status == 429
    hold.set()
    await asyncio.gather(*tasks)


async def test_prompt_experts_of_one_endpoint_share_its_slots() -> None:
    admission = Admission()
    async with admission.slot(expert()), admission.slot(expert(name="b")):
        assert admission.load(expert(name="c")) == Load(2, 0)
        assert admission.load(expert(endpoint="http://other/v1")) == Load(0, 0)


async def test_nobody_waits_longer_than_for_a_first_byte() -> None:
    admission = Admission()
    small = expert(max_in_flight=1, timeouts={"first_byte_s": 0.05})
    async with admission.slot(small):
        with pytest.raises(ExpertBusy, match="no place became free"):
            async with admission.slot(small):
                pass
        assert admission.load(small) == Load(1, 0)


async def test_one_who_gives_up_waiting_takes_no_slot_along() -> None:
    admission, small = Admission(), expert(max_in_flight=1)

    async def work() -> None:
        async with admission.slot(small):
            pass

    async with admission.slot(small):
        waiting = asyncio.create_task(work())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert admission.load(small) == Load(1, 0)
    await work()
    assert admission.load(small) == Load(0, 0)


async def test_callers_are_served_in_turn_whoever_came_first() -> None:
    admission, small, order = Admission(), expert(max_in_flight=1, max_queued=20), []

    async def work(key: str) -> None:
        async with admission.slot(small, Caller(key)):
            order.append(key)
            await asyncio.sleep(0)

    await asyncio.gather(*(work(key) for key in "aaaaaabbc"))
    assert order[0] == "a"
    assert sorted(order[1:4]) == ["a", "b", "c"]
    assert sorted(order[4:6]) == ["a", "b"]


async def test_batch_waits_for_interactive_requests() -> None:
    admission, small, order = Admission(), expert(max_in_flight=1, max_queued=20), []

    async def work(name: str, priority: Priority) -> None:
        async with admission.slot(small, Caller(name, priority)):
            order.append(name)
            await asyncio.sleep(0)

    jobs: list[tuple[str, Priority]] = [("first", "batch"), ("b", "batch")]
    jobs += [("i", "interactive")] * 4
    await asyncio.gather(*(work(*job) for job in jobs))
    assert order == ["first", "i", "i", "i", "i", "b"]


async def test_in_a_full_queue_one_who_has_less_takes_the_place_of_one_who_has_more() -> None:
    admission, small = Admission(), expert(max_in_flight=1, max_queued=4)
    hold = asyncio.Event()

    async def work(key: str) -> str:
        async with admission.slot(small, Caller(key)):
            await hold.wait()
            return key

    greedy = [asyncio.create_task(work("greedy")) for _ in range(5)]
    await asyncio.sleep(0)
    modest = asyncio.create_task(work("modest"))
    await asyncio.sleep(0)
    hold.set()
    results = await asyncio.gather(*greedy, modest, return_exceptions=True)
    assert [isinstance(each, QueueFull) for each in results] == [False] * 4 + [True, False]
    assert admission.load(small) == Load(0, 0)


async def test_the_wait_that_is_told_is_that_of_the_rate_at_which_places_become_free() -> None:
    admission, small = Admission(), expert(max_in_flight=2, max_queued=8)
    async with admission.slot(small):
        await asyncio.sleep(0.5)
    hold = asyncio.Event()

    async def work() -> None:
        async with admission.slot(small):
            await hold.wait()

    tasks = [asyncio.create_task(work()) for _ in range(10)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull) as caught:
        await work()
    # Nine turns of half a second, or little more, at two places.
    assert caught.value.retry_after_s is not None
    assert 2.25 <= caught.value.retry_after_s < 9
    hold.set()
    await asyncio.gather(*tasks)


async def test_one_whose_turn_would_come_too_late_is_told_at_once() -> None:
    admission, small = Admission(), expert(max_in_flight=1, timeouts={"first_byte_s": 0.15})
    async with admission.slot(small):
        await asyncio.sleep(0.1)
    async with admission.slot(small):
        waiting = asyncio.create_task(admission.slot(small).__aenter__())
        await asyncio.sleep(0)
        with pytest.raises(QueueFull, match="would be free in about"):
            await admission.slot(small).__aenter__()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_place_given_to_one_who_just_left_goes_on_to_the_next() -> None:
    admission, small = Admission(), expert(max_in_flight=1)
    entered = []

    async def work(name: str) -> None:
        async with admission.slot(small, Caller(name)):
            entered.append(name)

    slot = admission.slot(small)
    await slot.__aenter__()
    leaving, staying = (asyncio.create_task(work(name)) for name in ("leaving", "staying"))
    await asyncio.sleep(0)
    await slot.__aexit__(None, None, None)  # gives the place to the one that leaves now
    leaving.cancel()
    await asyncio.gather(leaving, staying, return_exceptions=True)
    assert entered == ["staying"]
    assert admission.load(small) == Load(0, 0)


async def test_one_who_is_turned_away_takes_nobodys_place() -> None:
    admission = Admission()
    small = expert(max_in_flight=1, max_queued=2, timeouts={"first_byte_s": 0.15})
    async with admission.slot(small):
        await asyncio.sleep(0.2)
    held = admission.slot(small, Caller("greedy"))
    await held.__aenter__()
    patient = expert(max_in_flight=1, max_queued=2)
    greedy = [asyncio.create_task(admission.slot(patient, Caller("greedy")).__aenter__()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull, match="would be free in about"):
        await admission.slot(small, Caller("modest")).__aenter__()
    assert admission.load(small) == Load(1, 2)
    for each in greedy:
        each.cancel()
    await asyncio.gather(*greedy, return_exceptions=True)
    await held.__aexit__(None, None, None)
