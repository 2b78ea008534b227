"""What is put in front of a strategy's calls: counted under its limits, and the same as for one expert."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import pytest

from experts.fake import Behaviour, Chooser, RunningFake, run_fake_expert
from prompts.mixture.demos import Demo
from prompts.mixture.mixture import Region
from prompts.templates import PromptLibrary
from tests.integration.app.prompt_world import Experts, mixture
from tests.integration.app.strategy_world import ask, calls_of, routing_of, says
from tests.integration.app.world import Api, World

CONTEXT = 4_000
"""Of coder, over which the prompt experts are."""
LONG = says("word " * 2_000)
MEMBERS = ["helper", "second"]
IDENTITY = "You are a compiler" + " of code" * 65 + "."
"""133 of the fake's tokens."""


@asynccontextmanager
async def panel_of_mixtures(
    world: World, words: int, **settings: Any
) -> AsyncIterator[tuple[Api, RunningFake]]:
    """Two experts with demos of so many words in front, over a server that counts words as tokens, talks
    on, and refuses what is longer than its context."""
    experts = Experts.of(world)
    demos = (Demo("ab " * (words // 2), "ab " * (words // 2)),)
    region = Region(mixture().regions[0].centroid, 2.0, "Write short code.", demos)
    for name, place in zip(MEMBERS, ("coder", "backup"), strict=True):
        experts.mixture(mixture(regions=(region,)), name)
        experts.compose(name, place)
    with run_fake_expert(LONG, name="coder", context_length=CONTEXT) as coder:
        experts.endpoints["coder"] = coder.endpoint
        async with experts.serve(**settings) as api:
            yield api, coder


@pytest.fixture(autouse=True)
def _a_generalist_that_stays(world: World) -> None:
    """`compose` gives backup's place away, so the generalist is another expert."""
    manifest = world.folder / "composition" / "composition.json"
    manifest.write_text(manifest.read_text().replace('"generalist": "backup"', '"generalist": "talker"'))


async def test_members_side_by_side_do_not_overdraw_the_tokens_by_their_demos(world: World) -> None:
    async with panel_of_mixtures(world, 600) as (api, coder):
        response = await ask(api, "panel", options={"members": MEMBERS, "max_tokens": 3_000})
        assert [len(body["messages"]) for body in coder.log.bodies[:2]] == [4, 4]
        assert 2 * 600 < response.json()["usage"]["total_tokens"] <= 3_000


async def test_members_side_by_side_do_not_overdraw_the_money_by_their_demos(world: World) -> None:
    prices = {"price": {"input": 1_000, "output": 1_000}}
    async with panel_of_mixtures(world, 600, strategy_max_cost=3.0, expert_fields=prices) as (api, coder):
        response = await ask(api, "panel", options={"members": MEMBERS}, max_tokens=1_000)
        assert [len(body["messages"]) for body in coder.log.bodies] == [4, 4]
        assert 1.2 < routing_of(response)["trace"]["totals"]["cost"] <= 3.0


async def test_money_holds_where_only_the_context_bounds_the_answer(world: World) -> None:
    """A prompt of fewer tokens than were set aside for it leaves a longer answer, at a higher price."""
    prices = {"price": {"input": 0, "output": 1_000}}
    async with world.serve(expert_fields=prices) as api:
        options = {"members": ["coder"], "max_cost": 3.5}
        text = "python code " + "incomprehensibilities " * 90
        response = await ask(api, "panel", text, options=options, fake={"reply": "word " * 3_800})
        assert 3 < routing_of(response)["trace"]["totals"]["cost"] <= 3.5


async def test_demos_that_the_limits_do_not_pay_for_leave_their_expert_out(world: World) -> None:
    async with panel_of_mixtures(world, 600) as (api, coder):
        options = {"members": [*MEMBERS, "talker"], "max_tokens": 2_000}
        routing = routing_of(await ask(api, "panel", options=options))
        assert routing["expert"] == "talker"
        assert {call for call in calls_of(routing) if call[1] == "answer"} == {
            ("helper", "answer", "refused"),
            ("second", "answer", "refused"),
            ("talker", "answer", "ok"),
        }
        assert coder.log.started == 0
        assert any("helper" in each for each in routing["trace"]["degraded"])


@pytest.mark.parametrize("tokens", [9_000, 3 * (CONTEXT - 10)])
async def test_a_share_of_the_tokens_leaves_the_demos_that_one_expert_gets(world: World, tokens: int) -> None:
    async with panel_of_mixtures(world, 1_000) as (api, coder):
        alone = routing_of(await ask(api, "single"))
        assert alone["mixture"]["dropped"] is None
        in_front = coder.log.last["messages"]
        coder.log.bodies.clear()
        response = await ask(api, "panel", options={"members": MEMBERS, "max_tokens": tokens})
        assert routing_of(response)["mixture"]["dropped"] is None
        assert [body["messages"] for body in coder.log.bodies[:2]] == [in_front, in_front]
        assert {call for call in calls_of(routing_of(response)) if call[1] == "answer"} == {
            ("helper", "answer", "ok"),
            ("second", "answer", "ok"),
        }


async def test_a_share_as_long_as_the_context_does_not_cut_the_answer_for_demos_that_are_dropped(
    world: World,
) -> None:
    async with panel_of_mixtures(world, 3_400) as (api, coder):
        options = {"members": MEMBERS, "max_tokens": 3 * (CONTEXT - 10)}
        routing = routing_of(await ask(api, "panel", options=options))
        assert routing["mixture"]["dropped"] == "demos"
        assert min(body["max_tokens"] for body in coder.log.bodies[:2]) > 3_500


def writing(body: Mapping[str, Any]) -> Behaviour:
    asked = str(body["messages"][-1]["content"])
    return says(IDENTITY) if asked.startswith("Describe the expert") else LONG


@asynccontextmanager
async def identities_per_request(
    world: World, way: Chooser = writing
) -> AsyncIterator[tuple[Api, RunningFake]]:
    """Two experts that write an identity for each request."""
    experts = Experts.of(world)
    experts.identities("request", "coding")
    experts.add("second", identity={"file": "identities.yaml", "per": "request"})
    experts.compose("expert")
    experts.compose("second", "backup")
    with run_fake_expert(way, name="coder", context_length=CONTEXT) as coder:
        experts.endpoints["coder"] = coder.endpoint
        async with experts.serve() as api:
            yield api, coder


async def test_each_step_says_what_stood_before_it_whoever_answers_in_the_end(world: World) -> None:
    experts = Experts.of(world)
    experts.add("writer", prompt="writing@1")
    experts.compose("writer")
    digest = experts.mixture(name="second")
    experts.compose("second", "backup")
    prompt = asdict(PromptLibrary().get("writing@1").origin)
    async with experts.serve() as api:
        options = {"members": ["writer", "second"]}
        answer = await ask(api, "panel", options=options)
        for routing in (routing_of(answer), await api.decision(answer.json()["routing"]["id"])):
            by_expert = {(each["expert"], each["purpose"]): each for each in routing["trace"]["steps"]}
            assert by_expert["writer", "answer"]["prompt"] == prompt
            assert by_expert["writer", "answer"]["mixture"] is None
            assert by_expert["second", "answer"]["prompt"] is None
            assert by_expert["second", "answer"]["mixture"]["digest"] == digest


async def test_a_question_of_the_strategys_own_says_the_experts_prompt_too(world: World) -> None:
    experts = Experts.of(world)
    experts.add("writer", prompt="writing@1")
    experts.compose("writer")
    async with experts.serve() as api:
        routing = routing_of(await ask(api, "chain", options={"drafter": "talker", "critic": "writer"}))
    steps = {each["purpose"]: each for each in routing["trace"]["steps"]}
    assert steps["critique"]["prompt"] == asdict(PromptLibrary().get("writing@1").origin)
    assert steps["draft"]["prompt"] is None


async def test_identities_written_for_the_request_do_not_overdraw_its_tokens(world: World) -> None:
    async with identities_per_request(world) as (api, coder):
        options = {"members": ["expert", "second"], "max_tokens": 2_100}
        response = await ask(api, "panel", options=options)
        routing = routing_of(response)
        assert response.json()["usage"]["total_tokens"] <= 2_100
        assert calls_of(routing)[:2] == [("expert", "answer", "refused"), ("second", "answer", "refused")]
        # What a share does not pay for, the whole does.
        assert calls_of(routing)[2:] == [("expert", "identity", "ok"), ("expert", "last resort", "ok")]
        assert coder.log.started == 2


async def test_an_identity_that_the_limits_do_not_pay_for_is_not_begun(world: World) -> None:
    async with identities_per_request(world) as (api, coder):
        response = await ask(api, "chain", options={"drafter": "expert", "max_tokens": 600})
        assert routing_of(response)["expert"] == "talker"
        assert coder.log.started == 0


async def test_an_identity_that_could_not_be_written_again_is_not_counted_again(world: World) -> None:
    asked: list[str] = []

    def writes_once(body: Mapping[str, Any]) -> Behaviour:
        asked.append(str(body["messages"][-1]["content"]))
        if not asked[-1].startswith("Describe the expert"):
            return says("a b c")
        return says(IDENTITY) if len(asked) == 1 else Behaviour(status=503)

    async with identities_per_request(world, writes_once) as (api, coder):
        options = {"drafter": "expert", "critic": "talker"}
        routing = routing_of(await ask(api, "chain", options=options))
        assert calls_of(routing) == [
            ("expert", "identity", "ok"),
            ("expert", "draft", "ok"),
            ("talker", "critique", "ok"),
            ("expert", "revise", "failed"),
        ]
        assert routing["trace"]["totals"]["calls"] == 1 + coder.log.started == 4
        assert routing["identity"]["calls"] == 1
