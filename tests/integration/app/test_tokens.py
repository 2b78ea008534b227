"""Requests that are too long, and caps that are too large, over real sockets."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from experts.fake import Behaviour, Chooser, RunningFake, run_fake_expert
from tests.integration.app.world import CODE, EXPERTS, TALK, Api, World, forget, small_world
from tests.tokenizer_files import write_tokenizer

CHINESE = "港口办公室星期一开门很晚，因为从岛上来的渡船被大雾耽搁了。"
CONTEXTS = {name: int(facts["context_length"]) for name, facts in EXPERTS.items()}


def strict_server(context: int) -> Chooser:
    """Refuses as vLLM does what does not fit its context, with two tokens for each word and one for each
    message."""

    def answer(body: Mapping[str, Any]) -> Behaviour:
        tokens = sum(1 + 2 * len(str(each["content"]).split()) for each in body.get("messages", ()))
        cap = body.get("max_completion_tokens") or body.get("max_tokens") or 1
        if tokens + cap <= context:
            return Behaviour()
        message = (
            f"This model's maximum context length is {context} tokens. However, your prompt contains "
            f"{tokens} input tokens and you asked for {cap} more."
        )
        return Behaviour(status=400, error={"message": message, "code": 400})

    return answer


@pytest.fixture(scope="module")
def strict() -> Iterator[Mapping[str, RunningFake]]:
    """The world's experts, whose servers refuse what their contexts do not hold."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(run_fake_expert(strict_server(length), name=name))
            for name, length in CONTEXTS.items()
        }


@pytest.fixture
def experts(tmp_path: Path, strict: Mapping[str, RunningFake]) -> World:
    forget(strict)
    return small_world(tmp_path, strict)


@pytest.fixture
async def unasked(experts: World) -> AsyncIterator[Api]:
    """A service that cannot count: bounds, and the servers' refusals."""
    async with experts.serve(expert_fields={"tokenize": False}) as api:
        yield api


@pytest.fixture
async def counting(experts: World, tmp_path: Path) -> AsyncIterator[Api]:
    """A service with a tokenizer for every expert."""
    tokenizer = str(write_tokenizer(tmp_path / "model"))
    async with experts.serve(expert_fields={"tokenizer": tokenizer}) as api:
        yield api


async def test_a_text_counted_as_too_long_goes_to_the_next_that_has_room(counting: Api) -> None:
    # 1,740 bytes and 20 words, but the tokenizer has no Chinese words.
    response = await counting.chat("hello " + CHINESE * 20)
    routing = response.json()["routing"]
    assert (routing["expert"], routing["reason"]) == ("backup", "filtered")
    assert "(counted), its context has 1,000" in routing["detail"]
    assert counting.fakes["talker"].log.started == 0


async def test_without_a_tokenizer_the_server_counts(experts: World) -> None:
    async with experts.serve() as api:
        response = await api.chat("hello " + "a" * 5_000, model="talker", max_tokens=5_000)
        assert response.status_code == 200
        log = api.fakes["talker"].log
        assert (log.bodies[0]["max_tokens"], log.counted) == (1_000 - 3, 1)


async def test_a_text_that_the_server_refuses_goes_to_the_next_that_has_room(unasked: Api) -> None:
    text = "hi " * 600
    for stream in (False, True):
        response = await unasked.chat(text, stream=stream)
        assert response.status_code == 200
        decision = await unasked.decision(response.headers["x-coterie-decision"])
        assert (decision["expert"], decision["reason"]) == ("backup", "filtered")
        assert decision["spilled_from"] == "talker"
        assert "too long" in decision["detail"]


async def test_only_when_nobody_takes_it_is_it_refused_with_the_largest_context(unasked: Api) -> None:
    refusing = {"status": 400, "error": {"message": "maximum context length is 9 tokens", "code": 400}}
    response = await unasked.chat("hello", fake=refusing)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (
        400,
        "context_length_exceeded",
        "messages",
    )
    assert "4,000" in error["message"]
    response = await unasked.chat("hello " * 4_001)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "context_length_exceeded")
    assert "4,000" in error["message"]
    assert "at least 4,0" in error["message"]


async def test_a_pinned_expert_is_refused_and_not_replaced(unasked: Api) -> None:
    response = await unasked.chat("hi " * 600, model="talker")
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert unasked.fakes["backup"].log.started == 0


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_a_large_cap_is_clipped_to_what_a_counted_prompt_leaves(counting: Api, field: str) -> None:
    for cap in (8_192, 10**12):
        response = await counting.chat(TALK, **{field: cap})
        assert response.status_code == 200
        sent = counting.fakes["talker"].log.last
        prompt = await counting.services.tokens.count(
            counting.services.registry.get("talker"), {"messages": sent["messages"]}
        )
        assert prompt.method == "counted"
        assert sent[field] == 1_000 - prompt.tokens


async def test_a_cap_clipped_by_a_bound_that_the_server_refuses_is_clipped_once_more(unasked: Api) -> None:
    for stream in (False, True):
        forget(unasked.fakes)
        response = await unasked.chat(TALK, max_tokens=8_192, stream=stream)
        assert response.status_code == 200
        bodies = unasked.fakes["talker"].log.bodies
        assert [body["max_tokens"] for body in bodies] == [1_000 - 6, 1_000 - 11]


async def test_a_longest_answer_that_a_server_names_is_remembered(unasked: Api) -> None:
    message = "max_tokens is too large: 900. This model supports at most 400 completion tokens."

    def behave(body: Mapping[str, Any]) -> Behaviour:
        over = (body.get("max_tokens") or 0) > 400
        return Behaviour(status=400, error={"message": message}) if over else Behaviour()

    with run_fake_expert(behave, name="talker") as picky:
        world = World(unasked_folder(unasked), {**unasked.fakes, "talker": picky})
        async with world.serve(expert_fields={"tokenize": False}) as api:
            for _ in range(2):
                assert (await api.chat(TALK, max_tokens=900)).status_code == 200
        assert [body["max_tokens"] for body in picky.log.bodies] == [900, 400, 400]


async def test_a_longest_answer_that_leaves_none_is_not_remembered(unasked: Api) -> None:
    odd = Behaviour(status=400, error={"message": "max_tokens: 900 > 1"})

    def behave(body: Mapping[str, Any]) -> Behaviour:
        return odd if picky.log.started == 1 else Behaviour()

    with run_fake_expert(behave, name="talker") as picky:
        world = World(unasked_folder(unasked), {**unasked.fakes, "talker": picky})
        async with world.serve(expert_fields={"tokenize": False}) as api:
            assert (await api.chat(TALK, max_tokens=900)).status_code == 400
            assert (await api.chat(TALK, max_tokens=900)).status_code == 200
        assert [body["max_tokens"] for body in picky.log.bodies] == [900, 900]


@pytest.mark.parametrize("cap", [0, -1, "many"])
async def test_a_cap_that_is_none_is_refused_by_name(unasked: Api, cap: object) -> None:
    response = await unasked.chat(TALK, max_tokens=cap)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "max_tokens")


async def test_an_experts_own_default_is_clipped_too(experts: World) -> None:
    fields = {"sampling": {"max_tokens": 5_000}, "tokenize": False}
    async with experts.serve(expert_fields=fields) as api:
        assert (await api.chat(CODE)).status_code == 200
        assert api.fakes["coder"].log.last["max_tokens"] < 4_000


async def test_a_strategys_member_that_is_too_small_is_left_out_visibly(unasked: Api) -> None:
    routing = {"strategy": "panel"}
    response = await unasked.chat("hello " * 1_500, routing=routing)
    assert response.status_code == 200
    decision = response.json()["routing"]
    excluded = {choice["expert"]: choice["excluded"] for choice in decision["ranking"]}
    assert "at least" in excluded["talker"]
    assert unasked.fakes["talker"].log.started == 0


async def test_tokens_are_counted_for_messages_clients(counting: Api) -> None:
    body = {"model": "talker", "messages": [{"role": "user", "content": CHINESE}]}
    response = await counting.http.post("/v1/messages/count_tokens", json=body)
    talker = counting.services.registry.get("talker")
    count = await counting.services.tokens.count(talker, {"messages": body["messages"]})
    assert response.json() == {"input_tokens": count.tokens}
    assert count.tokens > len(CHINESE)


def unasked_folder(api: Api) -> Path:
    return api.services.settings.data.parent


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("responses", {"input": TALK, "max_output_tokens": 8_192}, "max_output_tokens"),
        ("messages", {"messages": [{"role": "user", "content": TALK}], "max_tokens": 8_192}, "max_tokens"),
        ("completions", {"prompt": TALK, "max_tokens": 8_192}, "max_tokens"),
    ],
)
@pytest.mark.parametrize("native", [False, True])
async def test_caps_of_every_dialect_are_clipped(
    experts: World, tmp_path: Path, path: str, body: dict[str, Any], field: str, native: bool
) -> None:
    fields = {"tokenizer": str(write_tokenizer(tmp_path / "model")), "dialects": [path] if native else []}
    async with experts.serve(expert_fields=fields) as api:
        response = await api.http.post(f"/v1/{path}", json={"model": "talker", **body})
        assert response.status_code == 200, response.text
        log = api.fakes["talker"].log
        assert log.paths[-1] == (f"/v1/{path}" if native else "/v1/chat/completions")
        assert 0 < log.last[field if native else "max_tokens"] < 1_000


@pytest.mark.parametrize("strategy", ["cascade", "panel", "self_select", "chain"])
async def test_every_strategy_takes_a_large_cap(unasked: Api, strategy: str) -> None:
    response = await unasked.chat(TALK, routing={"strategy": strategy}, max_tokens=100_000)
    assert response.status_code == 200, response.text
