"""A quota of escalations for each key, through the API: counted, limited, refused, and never silent."""

import asyncio
import socket
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from app.errors import StartError
from app.startup import open_services
from tests.integration.app.strategy_world import ask, routing_of
from tests.integration.app.world import CODE, TALK, Api, WordEncoder, World

DESK, BATCH = {"authorization": "Bearer one"}, {"authorization": "Bearer two"}
KEYS = "desk:one,batch:two"
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


async def post(
    api: Api, key: dict[str, str], text: str = CODE, path: str = "/v1/chat/completions", **fields: Any
) -> httpx2.Response:
    body = {"model": "coterie", "messages": [{"role": "user", "content": text}], **fields}
    return await api.http.post(path, json=body, headers=key)


async def test_above_the_quota_the_best_expert_within_the_price_answers_and_says_so(world: World) -> None:
    async with world.serve(escalations="2/hour", escalation_baseline="backup", api_keys=KEYS) as api:
        for _ in range(2):
            routing = routing_of(await post(api, DESK))
            assert (routing["expert"], routing["reason"], routing["escalated"]) == ("coder", "matched", True)
        response = await post(api, DESK)
        routing = routing_of(response)
        assert (routing["expert"], routing["reason"], routing["escalated"]) == ("backup", "limited", False)
        assert routing["limited_from"] == "coder"
        assert "the key desk has used up its quota of escalations (2 per hour)" in routing["detail"]
        assert response.headers["x-coterie-reason"] == "limited"
        assert response.headers["x-coterie-limited-from"] == "coder"
        stored = await api.http.get(f"/v1/decisions/{routing['id']}", headers=DESK)
        assert {name: stored.json()[name] for name in routing} == routing
        # Another key has its own, and requests within the price are none of it.
        other = await post(api, BATCH)
        assert (routing_of(other)["expert"], "x-coterie-limited-from" in other.headers) == ("coder", False)
        talk = routing_of(await post(api, DESK, TALK))
        assert (talk["expert"], talk["reason"], talk["escalated"]) == ("talker", "matched", False)
        metrics = (await api.http.get("/metrics")).text
        assert 'coterie_escalations_total{expert="coder",result="counted"} 3.0' in metrics
        assert 'coterie_escalations_total{expert="coder",result="limited"} 1.0' in metrics


@pytest.mark.parametrize("stream", [False, True])
async def test_an_operator_can_have_it_refused_with_the_time_to_wait(world: World, stream: bool) -> None:
    async with world.serve(escalations="1/hour", escalations_over="refuse", api_keys=KEYS) as api:
        assert (await post(api, DESK, stream=stream)).status_code == 200
        refused = await post(api, DESK, stream=stream)
        assert refused.status_code == 429
        error = refused.json()["error"]
        assert error["code"] == "escalation_quota_exceeded"
        assert "The key desk has used up its quota of escalations (1 per hour)" in error["message"]
        assert 3_590 <= int(refused.headers["retry-after"]) <= 3_600
        assert (await post(api, DESK, TALK)).status_code == 200
        metrics = (await api.http.get("/metrics")).text
        assert 'coterie_escalations_total{expert="coder",result="refused"} 1.0' in metrics


async def test_messages_are_refused_in_their_own_form(world: World) -> None:
    async with world.serve(escalations="1/hour", escalations_over="refuse") as api:
        for status in (200, 429):
            response = await post(api, {}, path="/v1/messages", max_tokens=9)
            assert response.status_code == status
        assert response.json()["error"]["type"] == "rate_limit_error"
        assert "the service, which has no keys," in response.json()["error"]["message"].lower()


async def test_many_at_once_take_no_more_than_there_are(world: World) -> None:
    async with world.serve(escalations="3/hour", api_keys=KEYS) as api:
        answers = await asyncio.gather(*(post(api, DESK) for _ in range(12)))
        reasons = [routing_of(each)["reason"] for each in answers]
        assert (reasons.count("matched"), reasons.count("limited")) == (3, 9)


async def test_an_expert_that_the_client_names_counts_and_is_not_replaced(world: World) -> None:
    async with world.serve(escalations="1/hour", api_keys=KEYS) as api:
        assert routing_of(await post(api, DESK, model="coder"))["escalated"] is True
        refused = await post(api, DESK, model="coder")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "escalation_quota_exceeded")
        assert "coder costs more" in refused.json()["error"]["message"]
        assert int(refused.headers["retry-after"]) > 3_000
        assert routing_of(await post(api, DESK, model="talker"))["escalated"] is False
        assert routing_of(await post(api, DESK, routing={"category": "coding"}))["reason"] == "limited"


async def test_an_open_tool_call_counts_and_waits(world: World) -> None:
    async with world.serve(escalations="2/hour", api_keys=KEYS) as api:
        answer = (await post(api, DESK, tools=TOOLS)).json()
        call = answer["choices"][0]["message"]
        result = {"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": "done"}
        messages = [{"role": "user", "content": CODE}, call, result]
        body = {"model": "coterie", "messages": messages, "tools": TOOLS}
        held = await api.http.post("/v1/chat/completions", json=body, headers=DESK)
        assert (routing_of(held)["reason"], routing_of(held)["escalated"]) == ("held", True)
        refused = await api.http.post("/v1/chat/completions", json=body, headers=DESK)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "escalation_quota_exceeded")


async def test_strategies_of_several_experts_count_and_give_way_to_one(world: World) -> None:
    async with world.serve(escalations="1/hour") as api:
        asked = routing_of(await ask(api, "panel", TALK))
        assert (asked["strategy"], asked["escalated"]) == ("panel", True)
        limited = routing_of(await ask(api, "panel", TALK))
        assert (limited["strategy"], limited["expert"]) == ("single", "talker")
        assert (limited["reason"], limited["limited_from"]) == ("limited", "panel")


async def test_each_prompt_of_a_completion_counts(world: World) -> None:
    async with world.serve(escalations="3/hour") as api:
        body = {"model": "coterie", "max_tokens": 9}
        two = await api.http.post("/v1/completions", json={**body, "prompt": [CODE, f"{CODE} Now."]})
        assert two.headers["x-coterie-reason"] == "matched"
        again = await api.http.post("/v1/completions", json={**body, "prompt": [CODE, f"{CODE} Now."]})
        assert again.headers["x-coterie-reason"] == "limited"
        one = await api.http.post("/v1/completions", json={**body, "prompt": CODE})
        assert one.headers["x-coterie-reason"] == "matched"


async def test_more_prompts_at_once_than_the_quota_has_are_told_so(world: World) -> None:
    async with world.serve(escalations="2/hour", escalations_over="refuse", api_keys=KEYS) as api:
        body = {"model": "coterie", "prompt": [CODE, f"{CODE} Now.", f"{CODE} Then."]}
        refused = await api.http.post("/v1/completions", json=body, headers=DESK)
        assert refused.status_code == 429
        assert "send fewer prompts at once" in refused.json()["error"]["message"]
        assert "retry-after" not in refused.headers


@pytest.mark.parametrize("stream", [False, True])
async def test_a_dearer_fallback_counts_and_is_passed_over_above_the_quota(
    world: World, stream: bool
) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        world.endpoints["talker"] = f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
        async with world.serve(escalations="1/hour", check_health=False) as api:
            spilled = await post(api, {}, TALK, stream=stream)
            assert spilled.headers["x-coterie-expert"] == "backup"
            decision = await api.decision(spilled.headers["x-coterie-decision"])
            assert (decision["reason"], decision["escalated"]) == ("spilled", True)
            failed = await post(api, {}, TALK, stream=stream)
            assert failed.status_code == 503
            decision = await api.decision(failed.headers["x-coterie-decision"])
            assert (decision["expert"], decision["escalated"]) == ("talker", False)
            assert {name: each.log.started for name, each in api.fakes.items()} == {
                "coder": 0,
                "talker": 0,
                "backup": 1,
            }


async def test_a_decision_that_nobody_answers_counts_nothing(world: World) -> None:
    async with world.serve(escalations="1/hour") as api:
        for _ in range(3):
            routed = (await post(api, {}, path="/v1/route")).json()
            assert (routed["expert"], routed["escalated"]) == ("coder", None)
        assert routing_of(await post(api, {}))["escalated"] is True


async def test_nothing_is_explored_above_the_quota(world: World) -> None:
    async with world.serve(escalations="1/hour", explore=1.0) as api:
        found = [routing_of(await post(api, {})) for _ in range(10)]
        above = found[[each["escalated"] for each in found].index(True) + 1 :]
        assert above
        assert {(each["reason"], each["propensity"]) for each in above} == {("limited", None)}


async def test_without_a_quota_nothing_is_counted(world: World) -> None:
    async with world.serve() as api:
        routing = routing_of(await post(api, {}))
        assert (routing["escalated"], routing["limited_from"]) == (None, None)
        assert "coterie_escalations_total{" not in (await api.http.get("/metrics")).text


@pytest.mark.parametrize("rate", ["many", "0/hour", "20", "1/hour; 2/day"])
def test_a_rate_that_cannot_be_read_names_its_variable(world: World, rate: str) -> None:
    with pytest.raises(ValidationError, match="COTERIE_ESCALATIONS"):
        world.settings(escalations=rate)


async def test_an_unknown_baseline_stops_the_start_with_its_variable(world: World) -> None:
    settings = world.settings(escalations="1/hour", escalation_baseline="codr")
    with pytest.raises(StartError, match=r"COTERIE_ESCALATION_BASELINE.*codr"):
        async with open_services(settings, encoder=WordEncoder()):
            pass
