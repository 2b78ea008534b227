"""Arms that answer from several samples, in every dialect and in their decisions."""

from collections.abc import Iterator
from typing import Any

import pytest

from experts.fake import Behaviour, RunningFake, run_fake_expert
from tests.integration.app.prompt_world import Experts
from tests.integration.app.world import World

SUM = "How many is 3 + 4?"
VOTES = ("The answer is 12.", "The answer is 7.", "I get 7.")
TOKENS = sum(len(each.split()) for each in VOTES)
USE = {"asked": 3, "answered": 3, "selected": "majority", "agreed": 2 / 3}


@pytest.fixture(scope="module")
def voting() -> Iterator[RunningFake]:
    with run_fake_expert(Behaviour(choices=VOTES), name="coder") as running:
        yield running


@pytest.fixture
def experts(world: World, voting: RunningFake) -> Experts:
    experts = Experts.of(world)
    experts.endpoints = {"coder": voting.endpoint}
    experts.own = {"coder": {"dialects": ["responses", "messages", "completions"]}}
    experts.add("voted", sampling={"n": 3, "temperature": 0.8}, system_prompt="Be right.")
    return experts


REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": SUM}]},
    "/v1/messages": {"messages": [{"role": "user", "content": SUM}], "max_tokens": 50},
    "/v1/responses": {"input": SUM},
    "/v1/completions": {"prompt": SUM},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", REQUESTS)
async def test_an_arm_of_several_samples_answers_in_every_dialect(
    experts: Experts, voting: RunningFake, path: str, stream: bool
) -> None:
    async with experts.serve() as api:
        answer = await api.http.post(path, json={"model": "voted", "stream": stream, **REQUESTS[path]})
        assert answer.status_code == 200, answer.text
        assert VOTES[1] in answer.text
        assert VOTES[0] not in answer.text
        assert VOTES[2] not in answer.text
        assert voting.log.last["n"] == 3
        assert voting.log.paths[-1].endswith("/chat/completions")
        decision = await api.decision(answer.headers["x-coterie-decision"])
    assert decision["samples"] == USE
    assert decision["usage"]["completion_tokens"] == TOKENS


async def test_whole_answers_say_their_samples_and_the_tokens_of_all(experts: Experts) -> None:
    async with experts.serve() as api:
        answer = (await api.chat(SUM, model="voted")).json()
        plain = (await api.chat(SUM, model="coder")).json()
    assert answer["routing"]["samples"] == USE
    assert answer["usage"]["completion_tokens"] == TOKENS
    assert len(answer["choices"]) == 1
    assert plain["routing"]["samples"] is None


async def test_tools_and_own_choices_are_answered_as_by_one_sample(experts: Experts) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    async with experts.serve() as api:
        for fields in ({"tools": [tool]}, {"n": 2}):
            answer = (await api.chat(SUM, model="voted", **fields)).json()
            assert len(answer["choices"]) == fields.get("n", 1)
            assert answer["routing"]["samples"] is None


async def test_a_strategy_takes_an_arm_as_a_member(experts: Experts) -> None:
    routing = {"strategy": "panel", "options": {"members": ["voted", "talker"]}}
    experts.compose("voted")
    async with experts.serve() as api:
        answer = (await api.chat(SUM, routing=routing)).json()
    used = {step["expert"]: step["samples"] for step in answer["routing"]["trace"]["steps"]}
    assert used == {"voted": USE, "talker": None}
