"""Shadow runs and exploration over the API: off the request path, within limits, seen in the decision."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.errors import StartError
from app.serving.shadow_budget import OwnBudget
from app.startup import open_services
from app.storage.database import Database
from app.storage.schema import upgrade
from experts.fake import Behaviour, RunningFake, run_fake_expert
from prompts.mixture.demos import Demo
from prompts.mixture.mixture import Region
from prompts.templates import PromptLibrary
from tests.integration.app.prompt_world import Experts, mixture
from tests.integration.app.world import CODE, TALK, Api, WordEncoder, World, small_world


async def shadows_of(api: Api, decision_id: str, count: int) -> list[dict[str, Any]]:
    """The shadow answers of a decision, once there are `count`."""
    async with asyncio.timeout(10):
        while True:
            found: list[dict[str, Any]] = (await api.decision(decision_id))["shadows"]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


async def test_nobody_else_is_asked_unless_the_operator_says_so(api: Api) -> None:
    decision = (await api.chat(CODE)).json()["routing"]
    assert (decision["propensity"], decision["explored_from"]) == (None, None)
    assert (await api.decision(decision["id"]))["shadows"] == []
    assert [fake.log.started for fake in api.fakes.values()] == [1, 0, 0]


async def test_other_experts_answer_the_same_request_and_can_be_rated(
    tmp_path: Path, fakes: Mapping[str, RunningFake], database_url: str
) -> None:
    database = Database(database_url)
    await upgrade(database)
    await database.close()
    world = small_world(tmp_path, fakes, database_url)
    prices = {"price": {"input": 2.0, "output": 10.0}}
    async with world.serve(shadow_rate=1, store_prompts=True, expert_fields=prices) as api:
        decision = (await api.chat(CODE, temperature=0.5, stream=False)).json()["routing"]["id"]
        found = await shadows_of(api, decision, 2)
        assert [(each["expert"], each["status"]) for each in found] == [("backup", "ok"), ("talker", "ok")]
        assert found[0]["answer"] == f"backup heard: {CODE}"
        usage = found[0]["usage"]
        assert found[0]["tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        expected = (2 * usage["prompt_tokens"] + 10 * usage["completion_tokens"]) / 1e6
        assert found[0]["price"] == pytest.approx(expected)
        assert api.fakes["backup"].log.last["temperature"] == 0.5
        rated = await api.http.post("/v1/feedback", json={"decision_id": found[0]["id"], "score": 0.5})
        assert rated.status_code == 201
        again = await shadows_of(api, decision, 2)
        assert [each["score"] for each in again[0]["feedback"]] == [0.5]
        unknown = await api.http.post("/v1/feedback", json={"decision_id": "shd_x", "score": 0.5})
        assert unknown.status_code == 404


async def test_a_streamed_answer_has_shadows_too_and_they_are_not_streamed(world: World) -> None:
    async with world.serve(shadow_rate=1, shadow_experts="backup") as api:
        response = await api.chat(CODE, stream=True, stream_options={"include_usage": True})
        found = await shadows_of(api, response.headers["x-coterie-decision"], 1)
        assert [each["expert"] for each in found] == ["backup"]
        assert "stream" not in api.fakes["backup"].log.last


async def test_texts_are_kept_only_with_prompts(world: World) -> None:
    async with world.serve(shadow_rate=1) as api:
        decision = (await api.chat(CODE)).json()["routing"]["id"]
        assert all("answer" not in each for each in await shadows_of(api, decision, 2))
    assert b"heard" not in (world.folder / "var" / "coterie.db").read_bytes()


async def test_the_client_does_not_wait_for_shadows(world: World) -> None:
    async with world.serve(shadow_rate=1) as api:
        started = time.perf_counter()
        decision = (await api.chat(CODE, fake={"delay_s": 1.0})).json()["routing"]["id"]
        assert 1.0 <= time.perf_counter() - started < 2.0
        assert (await api.decision(decision))["shadows"] == []
        await shadows_of(api, decision, 2)
        assert time.perf_counter() - started > 2.9


async def test_what_does_not_fit_the_queue_is_dropped_and_says_so(world: World) -> None:
    async with world.serve(shadow_rate=1, shadow_queue=1, shadow_experts="backup") as api:
        ids = []
        for _ in range(4):
            answer = await api.chat(CODE, fake={"delay_s": 0.3})
            ids.append(answer.json()["routing"]["id"])
        burst = await asyncio.gather(*(api.chat(CODE, fake={"delay_s": 0.3}) for _ in range(5)))
        ids += [answer.json()["routing"]["id"] for answer in burst]
        found = [(await shadows_of(api, each, 1))[0] for each in ids]
        dropped = [each for each in found if each["status"] == "dropped"]
        assert dropped
        assert {each["error_code"] for each in dropped} == {"queue_full"}
        metrics = (await api.http.get("/metrics")).text
        assert f'coterie_shadows_total{{expert="backup",status="dropped"}} {len(dropped)}.0' in metrics


async def test_spending_stops_at_the_days_limit_and_is_remembered_over_a_restart(world: World) -> None:
    limits: dict[str, Any] = {"shadow_rate": 1, "shadow_experts": "backup", "shadow_max_tokens": 20}
    async with world.serve(**limits, shadow_tokens_per_day=50) as api:
        decisions = [(await api.chat(CODE)).json()["routing"]["id"] for _ in range(4)]
        found = [(await shadows_of(api, each, 1))[0] for each in decisions]
        spent = sum(each["tokens"] for each in found)
        assert 0 < spent <= 50
        assert {each["error_code"] for each in found if each["status"] == "dropped"} == {"spending_limit"}
    asked = api.fakes["backup"].log.started
    async with world.serve(**limits, shadow_tokens_per_day=spent) as api:
        decision = (await api.chat(CODE)).json()["routing"]["id"]
        assert (await shadows_of(api, decision, 1))[0]["error_code"] == "spending_limit"
        assert api.fakes["backup"].log.started == asked


async def shadow_of_talk(experts: Experts, name: str, tokens: int) -> dict[str, Any]:
    """What became of `name`'s shadow answer to a request that talker answered, with so many tokens a day."""
    limits: dict[str, Any] = {"shadow_rate": 1, "shadow_experts": name, "shadow_max_tokens": 20}
    async with experts.serve(**limits, shadow_tokens_per_day=tokens) as api:
        return (await shadows_of(api, (await api.chat(TALK)).json()["routing"]["id"], 1))[0]


async def test_an_identity_written_for_a_shadow_is_reserved_before_it_is_asked_for(world: World) -> None:
    experts = Experts.of(world)
    experts.identities("request", "smalltalk")
    experts.compose("expert")
    dropped = await shadow_of_talk(experts, "expert", 300)
    assert dropped["error_code"] == "spending_limit"
    assert world.fakes["coder"].log.started == 0
    found = await shadow_of_talk(experts, "expert", 1_100)
    assert found["status"] == "ok"
    assert 300 < found["tokens"] <= 1_100
    assert world.fakes["coder"].log.started == 2


async def test_demos_in_front_of_a_shadow_are_reserved_before_it_is_asked_for(world: World) -> None:
    experts = Experts.of(world)
    demos = (Demo("word " * 400, "word " * 400),)
    experts.mixture(mixture(regions=(Region(mixture().regions[1].centroid, 2.0, "", demos),)))
    experts.compose("helper")
    dropped = await shadow_of_talk(experts, "helper", 700)
    assert dropped["error_code"] == "spending_limit"
    assert world.fakes["coder"].log.started == 0
    found = await shadow_of_talk(experts, "helper", 2_000)
    assert found["status"] == "ok"
    assert 700 < found["tokens"] <= 2_000


async def test_every_sample_of_a_shadow_is_reserved_before_any_is_asked_for(world: World) -> None:
    experts = Experts.of(world)
    experts.add("voted", sampling={"n": 8, "temperature": 0.8}, system_prompt="Be right.")
    experts.compose("voted")
    dropped = await shadow_of_talk(experts, "voted", 120)
    assert dropped["error_code"] == "spending_limit"
    assert world.fakes["coder"].log.started == 0
    found = await shadow_of_talk(experts, "voted", 400)
    assert (found["status"], found["samples"]["answered"]) == ("ok", 8)


async def test_a_shadow_gets_the_demos_that_a_live_request_would_get(world: World) -> None:
    """The longest shadow answer and the demos would not fit the context together."""
    experts = Experts.of(world)
    demos = (Demo("ab " * 600, "ab " * 600),)
    experts.mixture(mixture(regions=(Region(mixture().regions[1].centroid, 2.0, "", demos),)))
    experts.compose("helper")
    with run_fake_expert(name="coder", context_length=4_000) as coder:
        experts.endpoints["coder"] = coder.endpoint
        async with experts.serve(shadow_rate=1, shadow_experts="helper", shadow_max_tokens=3_900) as api:
            decision = (await api.chat(TALK)).json()["routing"]["id"]
            assert (await shadows_of(api, decision, 1))[0]["status"] == "ok"
        assert len(coder.log.last["messages"]) == 3
        assert 2_000 < coder.log.last["max_tokens"] < 2_800


async def test_a_shadow_says_what_stood_before_it(world: World) -> None:
    experts = Experts.of(world)
    experts.add("writer", prompt="writing@1")
    digest = experts.mixture()
    for name, place in (("writer", "coder"), ("helper", "talker")):
        experts.compose(name, place)
    async with experts.serve(shadow_rate=1, shadow_experts="writer,helper") as api:
        decision = (await api.chat(TALK, model="backup")).json()["routing"]["id"]
        found = {each["expert"]: each for each in await shadows_of(api, decision, 2)}
    assert found["writer"]["prompt"] == asdict(PromptLibrary().get("writing@1").origin)
    assert (found["writer"]["mixture"], found["writer"]["identity"]) == (None, None)
    assert (found["helper"]["prompt"], found["helper"]["mixture"]["digest"]) == (None, digest)


async def test_a_shadow_answer_is_no_longer_than_its_experts_answers_to_clients(world: World) -> None:
    fields = {"sampling": {"max_tokens": 7}}
    async with world.serve(shadow_rate=1, shadow_experts="backup", expert_fields=fields) as api:
        await shadows_of(api, (await api.chat(CODE)).json()["routing"]["id"], 1)
        assert api.fakes["backup"].log.last["max_tokens"] == 7


async def test_a_shadow_that_fails_is_written_down_and_the_client_never_sees_it(world: World) -> None:
    with run_fake_expert(Behaviour(status=500), name="talker") as failing:
        world.endpoints["talker"] = failing.endpoint
        async with world.serve(shadow_rate=1, shadow_experts="talker") as api:
            answer = await api.chat(CODE)
            assert answer.status_code == 200
            found = (await shadows_of(api, answer.json()["routing"]["id"], 1))[0]
            assert (found["status"], found["error_code"], found["tokens"]) == (
                "error",
                "expert_unavailable",
                0,
            )


async def test_a_stop_writes_down_what_it_drops(world: World) -> None:
    async with world.serve(shadow_rate=1) as api:
        decision = (await api.chat(CODE, fake={"delay_s": 0.5})).json()["routing"]["id"]
    async with world.serve() as api:
        found = await shadows_of(api, decision, 2)
        assert {each["error_code"] for each in found} == {"service_stopped"}


async def test_an_unknown_shadow_expert_stops_the_start_with_its_variable(world: World) -> None:
    settings = world.settings(shadow_rate=1, shadow_experts="codr")
    with pytest.raises(StartError, match=r"COTERIE_SHADOW_EXPERTS.*codr"):
        async with open_services(settings, encoder=WordEncoder()):
            pass


async def test_explored_requests_say_so_and_keep_their_propensity(world: World) -> None:
    async with world.serve(explore=1.0) as api:
        routed = [(await api.chat(CODE)).json()["routing"] for _ in range(12)]
        others = [each for each in routed if each["expert"] != "coder"]
        assert others
        for each in others:
            assert (each["reason"], each["explored_from"]) == ("explored", "coder")
        assert {each["propensity"] for each in routed} == {0.333333}
        stored = await api.decision(others[0]["id"])
        assert (stored["explored_from"], stored["propensity"]) == ("coder", 0.333333)
        decided = (await api.http.post("/v1/route", json=body_of(CODE))).json()
        assert (decided["expert"], decided["propensity"]) == ("coder", None)


async def test_a_conversation_is_explored_at_its_beginning_only(world: World) -> None:
    async with world.serve(explore=1.0) as api:
        conversation = {"routing": {"conversation": "c1"}}
        first = (await api.chat(CODE, **conversation)).json()["routing"]
        assert first["propensity"] is not None
        later = (await api.chat(CODE, **conversation)).json()["routing"]
        assert later["propensity"] is None


def body_of(text: str) -> dict[str, Any]:
    return {"model": "coterie", "messages": [{"role": "user", "content": text}]}


def test_a_budget_begins_anew_each_day_and_gives_back_what_was_not_used() -> None:
    monday, tuesday = datetime(2026, 1, 5, tzinfo=UTC).date(), datetime(2026, 1, 6, tzinfo=UTC).date()
    budget = OwnBudget(tokens=100, price=1.0, day=monday)
    assert budget.reserve(80, 0.5, monday)
    assert not budget.reserve(30, 0.1, monday)
    budget.settle(monday, -60, -0.4)
    assert budget.reserve(30, 0.1, monday)
    assert not budget.reserve(1, 0.9, monday)
    assert budget.reserve(100, 1.0, tuesday)
    budget.settle(monday, -30, -0.1)
    assert not budget.reserve(1, 0.0, tuesday)
