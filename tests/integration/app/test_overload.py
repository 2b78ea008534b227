"""More requests than an expert has places for: turns, priorities, honest refusals, and places that are
freed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from app.factory import create_app
from experts.admission import Load
from tests.integration.app.world import CODE, TALK, Api, World, events_of

KEYS = "desk:one,flood:two"
DESK, FLOOD = {"authorization": "Bearer one"}, {"authorization": "Bearer two"}
ONE_PLACE: dict[str, Any] = {"max_in_flight": 1, "max_queued": 4}


async def post(api: Api, text: str, key: dict[str, str] | None = None, **fields: Any) -> httpx2.Response:
    body = {"model": "coder", "messages": [{"role": "user", "content": text}], **fields}
    return await api.http.post("/v1/chat/completions", json=body, headers=key or {})


def load(api: Api) -> Load:
    return api.services.client.admission.load(api.services.registry.get("coder"))


async def waiting(api: Api, many: int) -> None:
    async with asyncio.timeout(5):
        while load(api).queued != many:  # noqa: ASYNC110 - the service changes it
            await asyncio.sleep(0.005)


@asynccontextmanager
async def one_place_taken(api: Api, key: dict[str, str] | None = None) -> AsyncIterator[None]:
    """Coder's one place is taken until the end."""
    holding = asyncio.create_task(post(api, "first", key, fake={"delay_s": 60}))
    await api.fakes["coder"].log.until(lambda log: log.in_flight == 1)
    yield
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)


async def test_a_key_that_floods_the_queue_delays_others_by_one_turn(world: World) -> None:
    async with world.serve(expert_fields=ONE_PLACE, api_keys=KEYS) as api:
        async with one_place_taken(api, FLOOD):
            flood = [asyncio.create_task(post(api, f"flood {number}", FLOOD)) for number in range(4)]
            await waiting(api, 4)
            desk = asyncio.create_task(post(api, "desk", DESK))
            done, _ = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
            assert [each.result().status_code for each in done] == [429]
        statuses = [response.status_code for response in await asyncio.gather(*flood, desk)]
        assert sorted(statuses[:4]) == [200, 200, 200, 429]
        assert statuses[4] == 200
        asked = [body["messages"][0]["content"] for body in api.fakes["coder"].log.bodies]
        assert asked.index("desk") <= 2


async def test_batch_requests_wait_for_the_others(world: World) -> None:
    async with world.serve(expert_fields=ONE_PLACE) as api:
        tasks = []
        async with one_place_taken(api):
            for priority in ("batch", "batch", "interactive"):
                tasks.append(asyncio.create_task(post(api, priority, routing={"priority": priority})))
                await waiting(api, len(tasks))
        await asyncio.gather(*tasks)
        asked = [body["messages"][0]["content"] for body in api.fakes["coder"].log.bodies]
        assert asked == ["first", "interactive", "batch", "batch"]
        assert "priority" in (await post(api, CODE, routing={"priority": "urgent"})).text


async def test_a_refusal_says_when_to_come_back(world: World) -> None:
    patient = {**ONE_PLACE, "timeouts": {"first_byte_s": 60, "total_s": 90}}
    async with world.serve(expert_fields=patient) as api:
        await post(api, CODE, fake={"delay_s": 0.6})
        async with one_place_taken(api):
            queued = [asyncio.create_task(post(api, CODE)) for _ in range(4)]
            await waiting(api, 4)
            refused = await post(api, CODE)
            assert refused.status_code == 429
            assert refused.json()["error"]["code"] == "expert_busy"
            # Five turns of 0.6 s, or little more.
            assert 3 <= int(refused.headers["retry-after"]) <= 30
        assert {each.status_code for each in await asyncio.gather(*queued)} == {200}


async def test_a_client_that_leaves_frees_its_place_in_the_queue_and_while_streaming(world: World) -> None:
    async with world.serve(expert_fields=ONE_PLACE) as api:
        body = {"model": "coder", "messages": [{"role": "user", "content": CODE}], "stream": True}
        endless = {**body, "fake": {"token_delay_s": 0.05, "reply": "word " * 2_000}}
        async with api.http.stream("POST", "/v1/chat/completions", json=endless) as stream:
            chunks = stream.aiter_bytes()
            await anext(chunks)
            queued = asyncio.create_task(post(api, CODE))
            await waiting(api, 1)
            queued.cancel()
            await waiting(api, 0)
            assert load(api) == Load(1, 0)
        await api.fakes["coder"].log.until(lambda log: log.cancelled == 1)
        assert (await post(api, CODE)).status_code == 200
        assert load(api) == Load(0, 0)


async def test_a_stalled_stream_is_cut_says_so_and_frees_its_place(world: World) -> None:
    async with world.serve(expert_fields=ONE_PLACE) as api:
        response = await post(api, CODE, stream=True, fake={"stall_after": 3})
        last = events_of(response.text)[-1]
        assert last["error"]["code"] == "expert_timeout"
        assert "stalled in the middle of its answer for 0.5 s" in last["error"]["message"]
        await api.fakes["coder"].log.until(lambda log: log.cancelled == 1)
        assert load(api) == Load(0, 0)


async def test_decisions_are_the_same_alone_and_among_a_thousand_others(world: World) -> None:
    """Nobody's traffic changes another's answer: load comes in afterwards, as a spill that is told."""
    texts = [f"{text} {number}" for text in (CODE, TALK, "zzz qqq") for number in range(4)]

    async def decisions(api: Api) -> list[dict[str, Any]]:
        found = []
        for text in texts:
            body = {"model": "coterie", "messages": [{"role": "user", "content": text}]}
            document = (await api.http.post("/v1/route", json=body)).json()
            found.append({name: value for name, value in document.items() if name != "id"})
        return found

    limits = {"max_in_flight": 20, "max_queued": 1_000, "timeouts": {"first_byte_s": 60, "total_s": 90}}
    async with (
        world.serve(expert_fields=limits, routing_queue=2_000) as api,
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(create_app(services=api.services)), base_url=api.url, timeout=90
        ) as crowd,
    ):
        alone = await decisions(api)
        others = []
        for number in range(1_000):
            message = {"role": "user", "content": f"{(CODE, TALK)[number % 2]} {number}"}
            body = {"model": "coterie", "messages": [message], "fake": {"delay_s": 60}}
            others.append(asyncio.create_task(crowd.post("/v1/chat/completions", json=body)))
        async with asyncio.timeout(60):
            while len(api.services.lifecycle.in_flight) < 1_000:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert load(api).queued > 0
        assert await decisions(api) == alone
        for each in others:
            each.cancel()
        await asyncio.gather(*others, return_exceptions=True)
