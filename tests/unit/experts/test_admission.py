"""Admission: never more in flight than an endpoint takes, never more waiting than it may have."""

import asyncio
from typing import Any

import pytest

from experts.admission import Admission, Load
from experts.errors import ExpertBusy
from experts.expert import Expert


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
