"""An expert with several servers, as its callers and its operator see it."""

from collections.abc import Iterator
from typing import Any

import pytest

from experts.fake import RunningFake, run_fake_expert
from tests.integration.app.world import CODE, Api, World, events_of

LONG = f"{CODE} {'Explain every line of the code. ' * 40}"


@pytest.fixture
def second() -> Iterator[RunningFake]:
    """Another server of coder's model."""
    with run_fake_expert(name="coder") as fake:
        yield fake


@pytest.fixture
def replicated(world: World, second: RunningFake) -> World:
    world.own["coder"] = {"replicas": [second.endpoint]}
    return world


@pytest.mark.parametrize("stream", [False, True])
async def test_a_decision_says_which_replica_answered(replicated: World, stream: bool) -> None:
    async with replicated.serve() as api:
        response = await api.chat(LONG, stream=stream)
        routing = (events_of(response.text)[0] if stream else response.json())["routing"]
        assert (routing["expert"], routing["reason"]) == ("coder", "matched")
        replica = routing["replica"]
        assert (replica["of"], replica["tried"], replica["hedged"]) == (2, [], False)
        assert (await api.decision(routing["id"]))["replica"] == replica
        others = (await api.chat("hello there")).json()["routing"]
        assert others["replica"] is None


@pytest.mark.parametrize("stream", [False, True])
async def test_every_replica_is_asked_before_an_expert_is_given_up(
    replicated: World, second: RunningFake, stream: bool
) -> None:
    """Both play the fault here, and both are asked."""
    async with replicated.serve() as api:
        response = await api.chat(CODE, stream=stream, fake={"status": 500}, routing={"expert": "coder"})
        assert response.status_code == 503
        assert (api.fakes["coder"].log.started, second.log.started) == (1, 1)
        decision = await api.decision(response.headers["x-coterie-decision"])
        assert decision["error_code"] == "expert_unavailable"


async def test_a_replica_that_is_gone_is_tried_once_and_told(world: World) -> None:
    with run_fake_expert(name="coder") as gone:
        pass
    world.own["coder"] = {"replicas": [gone.endpoint]}
    async with world.serve(check_health=False) as api:
        tried = []
        for number in range(8):
            chat = await api.chat(CODE, routing={"conversation": f"c{number}"})
            routing = chat.json()["routing"]
            assert (routing["reason"], routing["replica"]["number"]) == ("matched", 1)
            tried += routing["replica"]["tried"]
        assert tried == [{"number": 2, "error": "expert_unavailable"}]
        metrics = (await api.http.get("/metrics")).text
        assert 'coterie_replica_answers_total{expert="coder",replica="1",status="ok"} 8.0' in metrics
        assert 'coterie_replica_answers_total{expert="coder",replica="2",status="failed"} 1.0' in metrics
        states = await replicas_of(api, "coder")
        assert [each["usable"] for each in states] == [True, False]
        assert "refused the connection" in states[1]["detail"]


async def replicas_of(api: Api, name: str) -> list[dict[str, Any]]:
    data = (await api.http.get("/v1/experts")).json()["data"]
    found: list[dict[str, Any]] = next(each["replicas"] for each in data if each["name"] == name)
    return found


async def test_a_conversation_keeps_its_replica_after_a_restart(replicated: World) -> None:
    """The record of prompts is new then, and the hash may say the other one."""
    used = []
    conversations = [[{"role": "user", "content": f"{number}. {LONG}"}] for number in range(6)]
    for _ in range(2):
        async with replicated.serve() as api:
            for messages in conversations:
                answer = (
                    await api.http.post("/v1/chat/completions", json={"model": "coder", "messages": messages})
                ).json()
                used.append(answer["routing"]["replica"]["id"])
                messages += [answer["choices"][0]["message"], {"role": "user", "content": "And then?"}]
    assert used[:6] == used[6:]
