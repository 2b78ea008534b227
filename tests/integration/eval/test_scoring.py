"""Scoring over real sockets: everything is asked once, nothing is lost, failures are not zeros."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from base.reply import AskError, Reply
from client import ApiError, AsyncClient, ClientTimeouts, RetryPolicy
from eval.engine.api_line import ApiLine
from eval.engine.contestants import Contestant, expert_contestant
from eval.scoring import Outcomes, choose, samples_wanted, score_experts
from eval.service import served_experts
from eval.suite import Suite, SuiteError, load_suite
from experts.answer_store import AnswerStore
from experts.asker import GIVE_UP_AFTER, Asker
from experts.fake import Behaviour, run_fake_expert, serve_in_thread
from tests.integration.eval.world import EXPERTS, running

IMPATIENT = RetryPolicy(attempts=3, first_wait_s=0.01, longest_wait_s=0.05)
QUESTION = [{"role": "user", "content": "2 + 2?"}]


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """Twenty sums whose answer is always 4, in two categories."""
    lines = [
        {
            "id": f"sum-{n}",
            "category": "odd" if n % 2 else "even",
            "prompt": f"{n} + {4 - n}?",
            "check": {"kind": "number", "value": 4},
            "max_tokens": 8,
        }
        for n in range(20)
    ]
    path = tmp_path / "sums.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return load_suite(path)


async def scored(
    api: str,
    suite: Suite,
    folder: Path,
    *,
    concurrency: int = 4,
    samples: int = 1,
    within: Mapping[str, Sequence[str]] = {},
    greedy: bool = False,
    bound: str | None = None,
) -> Outcomes:
    async with AsyncClient(api) as client:
        experts = await served_experts(client)
    with AnswerStore(folder / "answers.sqlite") as store:
        asker = Asker(
            store,
            ApiLine(),
            concurrency=concurrency,
            retries=IMPATIENT,
            bounded_by=lambda contestant: bound or contestant.name,
        )
        contestants = [expert_contestant(each, experts, api) for each in experts]
        wanted = samples_wanted(suite, experts, samples, within)
        return await score_experts(asker, suite, experts, contestants, wanted=wanted, greedy=greedy)


async def sent(api: str, model: str, *, key: str | None = None, line: ApiLine | None = None) -> Reply:
    """The answer to one request, without store or retries."""
    line = line or ApiLine()
    try:
        return await line.send(Contestant(model, api, model, api_key=key), QUESTION, {})
    finally:
        await line.aclose()


def scores(outcomes: Outcomes, expert: str) -> list[float | None]:
    return [each.score for each in outcomes.of(expert)]


async def test_every_expert_is_asked_every_prompt_once_with_its_sampling(
    suite: Suite, tmp_path: Path
) -> None:
    def by_name(body: Mapping[str, Any]) -> Behaviour:
        return Behaviour(reply="It is 4." if body["model"] == "large" else "5")

    with running(by_name) as world:
        outcomes = await scored(world.api, suite, tmp_path)

    prompts = sorted(item.prompt for item in suite.items)
    assert sorted(world.asked("small")) == sorted(world.asked("large")) == prompts
    assert {body["max_tokens"] for body in world.log.bodies} == {8}
    assert not any({"temperature", "seed"} & body.keys() for body in world.log.bodies)
    assert scores(outcomes, "large") == [1.0] * 20
    assert scores(outcomes, "small") == [0.0] * 20
    assert outcomes.asked == 40
    assert all(each.answer is not None and each.answer.usage.completion for each in outcomes.outcomes)


async def test_a_second_run_asks_nothing_and_finds_the_same(suite: Suite, tmp_path: Path) -> None:
    with running() as world:
        first = await scored(world.api, suite, tmp_path)
        started = world.log.started
        second = await scored(world.api, suite, tmp_path)

        assert world.log.started == started
    assert second.asked == 0
    assert second.outcomes == first.outcomes


async def test_further_samples_carry_their_number_as_seed_and_are_kept_each(
    suite: Suite, tmp_path: Path
) -> None:
    def by_seed(body: Mapping[str, Any]) -> Behaviour:
        return Behaviour(reply="4" if body.get("seed", 0) % 2 else "5")

    with running(by_seed) as world:
        await scored(world.api, suite, tmp_path)
        outcomes = await scored(world.api, suite, tmp_path, samples=3)

    seeds = [body.get("seed") for body in world.log.bodies]
    assert Counter(seeds) == {None: 40, 1: 40, 2: 40}
    assert outcomes.asked == 80
    assert [(each.sample, each.score) for each in outcomes.of("small")] == [(0, 0), (1, 1), (2, 0)] * 20


async def test_small_experts_are_asked_before_large_ones_and_first_samples_before_second_ones(
    suite: Suite, tmp_path: Path
) -> None:
    with running(experts=[*reversed(EXPERTS)]) as world:
        outcomes = await scored(world.api, suite, tmp_path, samples=2, concurrency=1, bound="one server")

    assert [each.name for each in outcomes.experts] == ["large", "small"]
    asked = [(body.get("seed"), body["model"]) for body in world.log.bodies]
    order = [(seed, name) for seed in (None, 1) for name in ("small", "large")]
    assert asked == [each for each in order for _ in range(20)]


async def test_an_expert_may_be_scored_on_some_categories_alone(suite: Suite, tmp_path: Path) -> None:
    with running() as world:
        outcomes = await scored(world.api, suite, tmp_path, within={"small": ["odd"]})

        assert {each.item.category for each in outcomes.of("small")} == {"odd"}
        assert len(outcomes.of("large")) == 20
        with pytest.raises(SuiteError, match="no category square"):
            await scored(world.api, suite, tmp_path, within={"small": ["square"]})
        with pytest.raises(ApiError, match="no expert medium"):
            await scored(world.api, suite, tmp_path, within={"medium": ["odd"]})


async def test_greedy_answers_are_asked_at_temperature_0_and_are_others(suite: Suite, tmp_path: Path) -> None:
    with running() as world:
        await scored(world.api, suite, tmp_path)
        outcomes = await scored(world.api, suite, tmp_path, greedy=True)

    assert outcomes.asked == 40
    assert {body.get("temperature") for body in world.log.bodies[40:]} == {0.0}


async def test_requests_in_flight_are_bounded_for_each_expert(suite: Suite, tmp_path: Path) -> None:
    with running(Behaviour(reply="4", delay_s=0.02)) as world:
        await scored(world.api, suite, tmp_path, concurrency=3)

    assert 3 <= world.log.max_in_flight <= 6


async def test_an_interrupted_run_goes_on_where_it_was(suite: Suite, tmp_path: Path) -> None:
    with running(Behaviour(reply="4", delay_s=0.03)) as world:
        run = asyncio.create_task(scored(world.api, suite, tmp_path))
        await world.log.until(lambda log: log.finished >= 12)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        outcomes = await scored(world.api, suite, tmp_path)

        asked = Counter(world.asked("small")) + Counter(world.asked("large"))
    assert all(each.score == 1 for each in outcomes.outcomes)
    assert outcomes.asked <= 40 - 12 + 8
    # At most what was in flight at the interruption was asked twice.
    assert sum(asked.values()) <= 40 + 8


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_expert_is_asked_again(suite: Suite, tmp_path: Path, status: int) -> None:
    seen: Counter[str] = Counter()

    def busy_at_first(body: Mapping[str, Any]) -> Behaviour:
        key = f"{body['model']} {body['messages'][-1]['content']}"
        seen[key] += 1
        return Behaviour(status=status) if seen[key] == 1 else Behaviour(reply="4")

    with running(busy_at_first) as world:
        outcomes = await scored(world.api, suite, tmp_path)

    assert set(seen.values()) == {2}
    assert scores(outcomes, "small") == [1.0] * 20


async def test_a_refused_prompt_is_missing_with_its_code_and_asked_again_next_time(
    suite: Suite, tmp_path: Path
) -> None:
    broken = [True]

    def refuses_one(body: Mapping[str, Any]) -> Behaviour:
        if broken[0] and body["model"] == "small" and body["messages"][-1]["content"] == "3 + 1?":
            error = {"message": "too long: 3 + 1?", "code": "context_length_exceeded"}
            return Behaviour(status=400, error=error)
        return Behaviour(reply="4")

    with running(refuses_one) as world:
        outcomes = await scored(world.api, suite, tmp_path)
        assert world.asked("small").count("3 + 1?") == 1
        broken[0] = False
        again = await scored(world.api, suite, tmp_path)

    (missing,) = [each for each in outcomes.outcomes if each.score is None]
    assert (missing.expert, missing.item.id) == ("small", "sum-3")
    assert missing.error == "context_length_exceeded"
    assert "3 + 1" not in missing.reason
    assert again.asked == 1
    assert scores(again, "small") == [1.0] * 20


async def test_an_expert_that_is_down_is_given_up_and_the_other_is_scored(
    suite: Suite, tmp_path: Path
) -> None:
    def small_is_down(body: Mapping[str, Any]) -> Behaviour:
        return Behaviour(status=503) if body["model"] == "small" else Behaviour(reply="4")

    with running(small_is_down) as world:
        outcomes = await scored(world.api, suite, tmp_path, concurrency=2)

    assert scores(outcomes, "small") == [None] * 20
    assert scores(outcomes, "large") == [1.0] * 20
    assert len(set(world.asked("small"))) <= GIVE_UP_AFTER + 2
    assert Counter(each.error for each in outcomes.of("small"))["not_asked"] >= 13


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (Behaviour(rubbish_after=0), "bad_reply"),
        (Behaviour(status=500), "http_500"),
        (Behaviour(status=401), "http_401"),
    ],
)
async def test_a_failure_has_a_code(behaviour: Behaviour, code: str) -> None:
    with running(behaviour) as world, pytest.raises(AskError) as caught:
        await sent(world.api, "small")

    assert caught.value.code == code


async def test_a_stalled_expert_times_out() -> None:
    with running(Behaviour(stall_after=0)) as world, pytest.raises(AskError) as caught:
        await sent(world.api, "small", line=ApiLine(timeouts=ClientTimeouts(answer_s=0.2)))

    assert caught.value.code == "timeout"
    assert caught.value.unavailable


async def test_a_plain_server_is_asked_by_its_models() -> None:
    with run_fake_expert(Behaviour(reply="4"), models=["one", "two"]) as fake:
        async with AsyncClient(fake.endpoint) as api:
            experts = await served_experts(api)

    assert [(each.name, each.params_b) for each in experts] == [("one", None), ("two", None)]


async def test_an_answer_that_another_expert_gave_is_no_answer_of_this_one() -> None:
    def spilled(request: Request) -> Response:
        message = {"role": "assistant", "content": "4"}
        return JSONResponse({"choices": [{"message": message}]}, headers={"x-coterie-expert": "large"})

    app = Starlette(routes=[Route("/v1/chat/completions", spilled, methods=["POST"])])
    with serve_in_thread(app) as port:
        reply = await sent(f"http://127.0.0.1:{port}", "large")
        with pytest.raises(AskError) as caught:
            await sent(f"http://127.0.0.1:{port}", "small")

    assert reply.text == "4"
    assert (caught.value.code, caught.value.transient) == ("other_expert", False)


async def test_a_key_is_sent_and_never_shown() -> None:
    with run_fake_expert(Behaviour(reply="4"), api_key="right-key") as fake:
        assert (await sent(fake.endpoint, "fake", key="right-key")).text == "4"
        with pytest.raises(AskError) as caught:
            await sent(fake.endpoint, "fake", key="wrong-key")

    assert "wrong-key" not in f"{caught.value!r} {vars(caught.value)}"


async def test_unknown_experts_are_named_beside_the_known_ones() -> None:
    with running() as world:
        async with AsyncClient(world.api) as api:
            experts = await served_experts(api)

    with pytest.raises(ApiError, match=r"medium.* small, large"):
        choose(experts, ["medium"])
    assert [each.name for each in choose(experts, ["large", "large"])] == ["large"]


async def test_a_server_that_refuses_a_field_is_asked_without_it_from_then_on() -> None:
    def choose(body: Mapping[str, Any]) -> Behaviour:
        if "max_tokens" in body:
            said = "Unsupported parameter: 'max_tokens' is not supported with this model."
            return Behaviour(status=400, error={"message": said, "param": "max_tokens"})
        return Behaviour(reply="4")

    line = ApiLine()
    with run_fake_expert(choose) as fake:
        judge = Contestant("fake", fake.endpoint, "fake")
        for _ in range(2):
            assert (await line.send(judge, QUESTION, {"max_tokens": 5})).text == "4"
        await line.aclose()
        assert [body.get("max_completion_tokens") for body in fake.log.bodies] == [None, 5, 5]
