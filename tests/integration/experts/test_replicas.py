"""Several servers of one expert: affinity, another one before the first text, health and load of each."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from experts.admission import Caller, Load
from experts.client import ExpertClient
from experts.errors import ExpertBadReply, ExpertError, ExpertRejected, ExpertUnavailable
from experts.expert import Expert
from experts.fake import Behaviour, RunningFake, run_fake_expert
from experts.health import HealthMonitor, HealthSettings
from experts.registry import Registry
from experts.replica_loads import LoadPoller
from experts.replicas.pool import replica_id
from tests.integration.experts.conftest import ask, make_expert

LONG = "Tell me about valves. " * 100


@pytest.fixture
def fakes() -> Iterator[list[RunningFake]]:
    with ExitStack() as stack:
        yield [stack.enter_context(run_fake_expert(models=["small-model"])) for _ in range(2)]


def replicated(fakes: list[RunningFake], *more: str, **fields: Any) -> Expert:
    first, *others = [*(fake.endpoint for fake in fakes), *more]
    return make_expert(first, replicas=others, **fields)


def refusing() -> str:
    """An endpoint that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{bound.getsockname()[1]}/v1"


def served(fakes: list[RunningFake]) -> list[int]:
    return [fake.log.started for fake in fakes]


async def test_requests_with_one_beginning_go_to_one_replica(
    fakes: list[RunningFake], client: ExpertClient
) -> None:
    expert = replicated(fakes)
    for number in range(6):
        await client.complete(expert, ask(f"{LONG} {number}"))
    assert sorted(served(fakes)) == [0, 6]


async def test_sessions_are_spread_and_each_keeps_its_replica(
    fakes: list[RunningFake], client: ExpertClient
) -> None:
    expert = replicated(fakes)
    used: dict[str, set[int]] = {}
    for number in range(24):
        caller = Caller(session=f"s{number % 8}")
        reply = await client.complete(expert, ask(), caller=caller)
        assert reply.replica is not None
        used.setdefault(caller.session, set()).add(reply.replica.number)
    assert all(len(each) == 1 for each in used.values())
    assert set.union(*used.values()) == {1, 2}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_replica_that_is_gone_costs_one_try(
    fakes: list[RunningFake], client: ExpertClient, stream: bool
) -> None:
    expert = replicated(fakes[:1], refusing())
    uses = []
    for number in range(8):
        caller = Caller(session=f"s{number}")
        if stream:
            async with client.stream(expert, ask(), caller=caller) as answer:
                assert [events async for events in answer]
            uses.append(answer.replica)
        else:
            uses.append((await client.complete(expert, ask(), caller=caller)).replica)
    tried = [use.tried for use in uses if use is not None]
    assert all(use is not None and use.number == 1 for use in uses)
    assert [each for each in tried if each] == [((2, "expert_unavailable"),)]
    assert client.admission.load(expert) == Load(0, 0)


@pytest.mark.parametrize(
    "fake",
    [{"status": 500}, {"status": 429}, {"case": "empty"}, {"die_after": 0}, {"rubbish_after": 0}],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_fails_before_the_first_text_is_asked_of_another(
    fakes: list[RunningFake], client: ExpertClient, stream: bool, fake: dict[str, Any]
) -> None:
    expert, error = replicated(fakes), None
    try:
        if stream:
            async with client.stream(expert, ask(fake=fake)):
                pass
        else:
            await client.complete(expert, ask(fake=fake))
    except ExpertError as raised:
        error = raised
    assert error is not None
    assert served(fakes) == [1, 1]
    assert client.admission.load(expert) == Load(0, 0)


async def test_a_rejection_is_everybodys(fakes: list[RunningFake], client: ExpertClient) -> None:
    with pytest.raises(ExpertRejected):
        await client.complete(replicated(fakes), ask(fake={"status": 400}))
    assert sorted(served(fakes)) == [0, 1]


@pytest.mark.parametrize("fake", [{"die_after": 3}, {"stall_after": 3}, {"error_after": 3}], ids=str)
async def test_after_the_first_text_nobody_else_is_asked_and_the_replica_answers_for_it(
    fakes: list[RunningFake], client: ExpertClient, fake: dict[str, Any]
) -> None:
    expert = replicated(fakes, timeouts={"idle_s": 0.1})
    monitor = HealthMonitor(Registry.of(expert), client)
    for _ in range(3):
        with pytest.raises(ExpertError):
            async with client.stream(expert, ask(LONG, fake=fake)) as answer:
                async for _events in answer:
                    pass
    assert sorted(served(fakes)) == [0, 3]
    assert sorted(each.usable for each in monitor.replicas("small")) == [False, True]
    assert monitor.status("small").state == "unknown"
    await client.complete(expert, ask(LONG))
    assert sorted(served(fakes)) == [1, 3]
    assert client.admission.load(expert) == Load(0, 0)


async def test_what_one_replica_alone_can_go_on_with_is_not_asked_of_another(
    fakes: list[RunningFake], client: ExpertClient
) -> None:
    expert = replicated(fakes)
    own = await client.complete(expert, ask())
    assert own.replica is not None
    caller = Caller(replica=own.replica.id, held=True)
    with pytest.raises(ExpertUnavailable):
        await client.complete(expert, ask(fake={"status": 503}), caller=caller)
    assert sum(served(fakes)) == 2
    assert 2 in served(fakes)


async def test_a_slow_replica_is_hedged_and_the_loser_stops() -> None:
    slow, quick = Behaviour(delay_s=30), Behaviour()
    hedge = {"after_s": 0.05, "share": 0.5}
    with run_fake_expert(slow) as one, run_fake_expert(quick) as two:
        expert = replicated([one, two], hedge=hedge)
        async with ExpertClient() as client:
            at_one, at_two = (Caller(replica=replica_id(fake.endpoint), share=1.0) for fake in (one, two))
            # Two requests earn the right to hedge one.
            await client.complete(expert, ask(LONG), caller=at_two)
            async with client.stream(expert, ask(LONG[::-1]), caller=at_one) as answer:
                assert [events async for events in answer]
            assert answer.replica is not None
            assert (answer.replica.number, answer.replica.hedged) == (2, True)
            await one.log.until(lambda log: log.cancelled == 1)
            assert client.admission.load(expert) == Load(0, 0)


async def test_hedging_is_bounded(fakes: list[RunningFake], client: ExpertClient) -> None:
    expert = replicated(fakes, hedge={"after_s": 0.001, "share": 0.1})
    replies = [await client.complete(expert, ask(fake={"delay_s": 0.02})) for _ in range(20)]
    hedged = [reply.replica.hedged for reply in replies if reply.replica is not None]
    assert sum(hedged) == 2
    assert sum(served(fakes)) == 22


async def test_a_cancelled_request_frees_every_place_while_hedged(
    fakes: list[RunningFake], client: ExpertClient
) -> None:
    expert = replicated(fakes, hedge={"after_s": 0.01, "share": 0.5})
    await client.complete(expert, ask())
    asking = asyncio.create_task(client.complete(expert, ask(fake={"delay_s": 30})))
    for fake in fakes:
        await fake.log.until(lambda log: log.in_flight == 1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    for fake in fakes:
        await fake.log.until(lambda log: log.cancelled == 1)
    assert client.admission.load(expert) == Load(0, 0)


async def test_replicas_have_places_each_and_the_queue_is_the_experts(
    fakes: list[RunningFake], client: ExpertClient
) -> None:
    expert = replicated(fakes, max_in_flight=2, max_queued=10)
    asking = [asyncio.create_task(client.complete(expert, ask(fake={"delay_s": 0.3}))) for _ in range(8)]
    await asyncio.sleep(0.1)
    assert client.admission.load(expert) == Load(4, 4)
    await asyncio.gather(*asking)
    assert [fake.log.max_in_flight for fake in fakes] == [2, 2]


async def test_an_expert_is_up_while_a_replica_is(client: ExpertClient) -> None:
    with ExitStack() as stack:
        one = stack.enter_context(run_fake_expert(models=["small-model"]))
        expert = make_expert(one.endpoint, replicas=[refusing()])
        monitor = HealthMonitor(Registry.of(expert), client, HealthSettings())
        assert monitor.available("small")
        await monitor.check()
        assert monitor.status("small").state == "up"
        assert monitor.status("small").detail == "1 of 2 replicas answer."
        states = monitor.replicas("small")
        assert [each.usable for each in states] == [True, False]
        assert "refused the connection" in states[1].detail
    await monitor.check()
    assert monitor.status("small").state == "down"
    assert not monitor.available("small")
    with pytest.raises(ExpertUnavailable):
        await client.complete(expert, ask())


async def test_those_who_wait_go_to_a_replica_that_comes_back(client: ExpertClient) -> None:
    with run_fake_expert(models=["small-model"]) as one, run_fake_expert(models=["small-model"]) as two:
        expert = replicated([one, two], max_in_flight=1)
        monitor = HealthMonitor(Registry.of(expert), client)
        pool = client.admission.pool(expert)
        assert pool is not None
        pool.checked(1, ExpertUnavailable("small", "away"), (), 0.0)
        asking = [asyncio.create_task(client.complete(expert, ask(fake={"delay_s": 5}))) for _ in range(2)]
        await one.log.until(lambda log: log.in_flight == 1)
        await asyncio.sleep(0)
        assert client.admission.load(expert) == Load(1, 1)
        await monitor.check()
        await two.log.until(lambda log: log.in_flight == 1)
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_load_is_asked_of_servers_that_tell_it(fakes: list[RunningFake], client: ExpertClient) -> None:
    expert = replicated(fakes, refusing())
    poller = LoadPoller([expert], client, interval_s=0.01)
    monitor = HealthMonitor(Registry.of(expert), client)
    foreign = asyncio.create_task(client.complete(make_expert(fakes[1].endpoint), ask(fake={"delay_s": 30})))
    await fakes[1].log.until(lambda log: log.in_flight == 1)
    await poller.poll()
    assert [each.running for each in monitor.replicas("small")] == [0, 1, 0]
    foreign.cancel()
    await asyncio.gather(foreign, return_exceptions=True)
    await fakes[1].log.until(lambda log: log.in_flight == 0)
    await poller.start()
    async with asyncio.timeout(5):
        while monitor.replicas("small")[1].running:  # noqa: ASYNC110 - the poller changes it
            await asyncio.sleep(0.01)
    await poller.stop()


async def test_a_whole_answer_where_a_stream_was_asked_for_is_no_reason_to_ask_another(
    fakes: list[RunningFake], client: ExpertClient
) -> None:
    with pytest.raises(ExpertBadReply):
        async with client.stream(replicated(fakes), ask(fake={"case": "whole-to-stream"})):
            pass
    assert sorted(served(fakes)) == [0, 1]
