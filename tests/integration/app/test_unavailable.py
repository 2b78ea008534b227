"""Experts that are down, busy, late, broken: a visible spill before the first byte, a clear error after."""

import asyncio
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import openai
import pytest

from experts.fake import Behaviour, run_fake_expert
from tests.integration.app.world import CODE, TALK, Api, World, events_of


@pytest.fixture
def nobody() -> Iterator[str]:
    """An endpoint whose port refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("checked", [False, True])
async def test_a_down_expert_gives_way_to_the_next_best(
    world: World, nobody: str, stream: bool, checked: bool
) -> None:
    """Whether the health check has found it already or the request finds it out."""
    world.endpoints["coder"] = nobody
    async with world.serve(check_health=checked) as api:
        response = await api.chat(CODE, stream=stream)
        assert response.status_code == 200
        assert response.headers["x-coterie-reason"] == "spilled"
        decision = await api.decision(response.headers["x-coterie-decision"])
        assert (decision["expert"], decision["spilled_from"]) == ("backup", "coder")
        assert (decision["status"], decision["category"]) == ("ok", "coding")
        assert "coder was chosen" in decision["detail"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fake", [{"status": 503}, {"status": 429}, {"delay_s": 30}], ids=str)
async def test_every_expert_failing_ends_in_the_last_error(
    world: World, stream: bool, fake: dict[str, Any]
) -> None:
    timeouts = {"connect_s": 1, "first_byte_s": 0.3, "idle_s": 0.3, "total_s": 0.5}
    async with world.serve(expert_fields={"timeouts": timeouts}) as api:
        response = await api.chat(CODE, stream=stream, fake=fake)
        expected = {503: 503, 429: 429, None: 504}[fake.get("status")]
        assert response.status_code == expected
        assert all(f.log.started == 1 for f in api.fakes.values())
        decision = await api.decision(response.headers["x-coterie-decision"])
        assert (decision["status"], decision["http_status"]) == ("error", expected)
        assert decision["error_code"] == response.json()["error"]["code"]
        assert decision["spilled_from"] == "coder"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault", [{"status": 429}, {"status": 404}, {"case": "error-string"}, {"case": "empty"}], ids=str
)
async def test_another_model_of_the_same_server_answers_where_one_does_not(
    world: World, stream: bool, fault: dict[str, Any]
) -> None:
    """Gateways and servers of many models have limits and faults of one model."""

    def behave(body: Mapping[str, Any]) -> Behaviour:
        return Behaviour(**fault) if body["model"] == "coder" else Behaviour()

    with run_fake_expert(behave, models=list(world.fakes)) as gateway:
        world.endpoints |= dict.fromkeys(world.fakes, gateway.endpoint)
        async with world.serve() as api:
            response = await api.chat(CODE, stream=stream)
            assert response.status_code == 200
            assert response.headers["x-coterie-expert"] == "backup"
            assert [body["model"] for body in gateway.log.bodies] == ["coder", "backup"]


async def test_tries_are_bounded(world: World) -> None:
    async with world.serve(spill_tries=1) as api:
        response = await api.chat(CODE, fake={"status": 500})
        assert response.status_code == 503
        assert [api.fakes[name].log.started for name in ("coder", "backup", "talker")] == [1, 1, 0]


@pytest.mark.parametrize("how", ["model", "routing"])
async def test_a_pinned_expert_that_is_down_is_not_replaced(world: World, nobody: str, how: str) -> None:
    world.endpoints["coder"] = nobody
    pin: dict[str, Any] = {"model": "coder"} if how == "model" else {"routing": {"expert": "coder"}}
    async with world.serve() as api:
        response = await api.chat(CODE, **pin)
        assert response.status_code == 503
        error = response.json()["error"]
        assert error["code"] == "expert_unavailable"
        assert "coder" in error["message"]
        assert nobody not in response.text
        assert all(fake.log.started == 0 for fake in api.fakes.values())


async def test_a_pinned_category_may_fall_back(world: World, nobody: str) -> None:
    world.endpoints["coder"] = nobody
    async with world.serve() as api:
        routing = (await api.chat(TALK, model="coterie/coding")).json()["routing"]
        assert (routing["expert"], routing["spilled_from"]) == ("backup", "coder")


async def test_experts_of_the_same_server_are_not_tried_after_it(world: World, nobody: str) -> None:
    world.endpoints |= {"coder": nobody, "backup": nobody}
    async with world.serve(check_health=False, spill_tries=1) as api:
        routing = (await api.chat(CODE)).json()["routing"]
        assert (routing["expert"], routing["spilled_from"]) == ("talker", "coder")


async def test_an_expert_that_comes_back_answers_again(world: World) -> None:
    async with world.serve() as api:
        assert (await api.chat(CODE, model="coder", fake={"status": 500})).status_code == 503
        assert (await api.chat(CODE, model="coder")).json()["routing"]["expert"] == "coder"


@pytest.mark.parametrize(
    ("fake", "code"),
    [
        ({"stall_after": 3}, "expert_timeout"),
        ({"die_after": 3}, "expert_bad_reply"),
        ({"rubbish_after": 3}, "expert_bad_reply"),
        ({"error_after": 3}, "expert_bad_reply"),
    ],
    ids=str,
)
async def test_a_stream_that_breaks_ends_with_an_error_event(
    api: Api, fake: dict[str, Any], code: str
) -> None:
    response = await api.chat(CODE, stream=True, fake=fake)
    assert response.status_code == 200
    events = events_of(response.text)
    assert "[DONE]" not in events
    assert events[0]["routing"]["expert"] == "coder"
    assert set(events[-1]) == {"error"}
    assert events[-1]["error"]["code"] == code
    decision = await api.decision(events[0]["routing"]["id"])
    assert (decision["status"], decision["error_code"]) == ("error", code)
    assert decision["first_byte_ms"] is not None


async def test_the_openai_client_raises_when_a_stream_breaks(api: Api) -> None:
    async with api.openai() as client:
        stream = await client.chat.completions.create(
            model="coterie",
            messages=[{"role": "user", "content": CODE}],
            stream=True,
            extra_body={"fake": {"stall_after": 3}},
        )
        said = ""
        with pytest.raises(openai.APIError) as raised:
            async for chunk in stream:
                said += chunk.choices[0].delta.content or ""
    assert said
    assert raised.value.code == "expert_timeout"
    await api.fakes["coder"].log.until(lambda log: log.cancelled == 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_rubbish_instead_of_an_answer_is_a_bad_gateway(api: Api, stream: bool) -> None:
    response = await api.chat(CODE, stream=stream, fake={"rubbish_after": 0})
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "expert_bad_reply"
    decision = await api.decision(response.headers["x-coterie-decision"])
    assert (decision["status"], decision["error_code"]) == ("error", "expert_bad_reply")


async def test_too_many_requests_for_one_expert_are_turned_away_or_fall_back(world: World) -> None:
    async with world.serve(expert_fields={"max_in_flight": 1, "max_queued": 0}) as api:
        slow = {"delay_s": 0.5}
        pinned = [asyncio.create_task(api.chat(CODE, model="coder", fake=slow)) for _ in range(2)]
        statuses = sorted(response.status_code for response in await asyncio.gather(*pinned))
        assert statuses == [200, 429]
        routed = [asyncio.create_task(api.chat(CODE, fake=slow)) for _ in range(2)]
        experts = {(await each).json()["routing"]["expert"] for each in routed}
        assert experts == {"coder", "backup"}
