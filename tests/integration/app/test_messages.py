"""Anthropic's Messages API through the service, with its own SDK."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic, NotFoundError, beta_async_tool
from anthropic.types import Message, ModelInfo
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from experts.fake import create_fake_expert, serve_in_thread
from tests.contracts.validation import problems
from tests.integration.app.world import CODE, TALK, Api, World, events_of
from tests.integration.experts.anthropic_server import KEY, RunningAnthropic, run_anthropic_server

Document = dict[str, Any]

LOOK = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}


def anthropic(api: Api, **options: Any) -> AsyncAnthropic:
    return AsyncAnthropic(base_url=api.url, **{"api_key": "none", "max_retries": 0, **options})


async def ask(
    api: Api, text: str = TALK, headers: dict[str, str] | None = None, **fields: Any
) -> httpx2.Response:
    body = {"model": "coterie", "max_tokens": 64, "messages": [{"role": "user", "content": text}], **fields}
    return await api.http.post("/v1/messages", json=body, headers=headers)


async def test_the_sdk_gets_a_message_and_its_decision(api: Api) -> None:
    async with anthropic(api) as client:
        message = await client.messages.create(
            model="coterie", max_tokens=64, system="Be brief.", messages=[{"role": "user", "content": CODE}]
        )
    (block,) = message.content
    assert block.type == "text" and block.text == f"coder heard: {CODE}"
    assert (message.model, message.stop_reason) == ("coder", "end_turn")
    assert message.usage.output_tokens > 0
    routing = (message.model_extra or {})["routing"]
    assert message.id.removeprefix("msg_") == routing["id"].removeprefix("dec_")
    assert api.fakes["coder"].log.last["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (await api.decision(routing["id"]))["usage"]["completion_tokens"] == message.usage.output_tokens


async def test_the_sdk_streams(api: Api) -> None:
    async with (
        anthropic(api) as client,
        client.messages.stream(
            model="talker", max_tokens=64, messages=[{"role": "user", "content": TALK}]
        ) as stream,
    ):
        text = "".join([each async for each in stream.text_stream])
        final = await stream.get_final_message()
    assert text == f"talker heard: {TALK}"
    assert final.usage.output_tokens > 0 and final.usage.input_tokens > 0
    assert (final.model_extra or {})["routing"]["expert"] == "talker"


async def test_the_sdks_tool_runner_runs_to_its_end(api: Api) -> None:
    seen: list[str] = []

    @beta_async_tool
    async def look(text: str) -> str:
        """Look around."""
        seen.append(text)
        return "sunny"

    async with anthropic(api) as client:
        runner = client.beta.messages.tool_runner(
            model="coder",
            max_tokens=64,
            tools=[look],
            messages=[{"role": "user", "content": CODE}],
            max_iterations=3,
        )
        final = await runner.until_done()
    assert seen and final.stop_reason == "end_turn"
    told = api.fakes["coder"].log.last["messages"]
    assert told[-1]["role"] == "tool" and told[-1]["tool_call_id"] == told[-2]["tool_calls"][0]["id"]


async def test_a_streams_events_have_names_and_an_end(api: Api) -> None:
    response = await ask(api, stream=True, tools=[LOOK], model="coder", tool_choice={"type": "any"})
    names = [line[7:] for line in response.text.splitlines() if line.startswith("event: ")]
    assert names == [event["type"] for event in events_of(response.text)]
    assert (names[0], names[-2:]) == ("message_start", ["message_delta", "message_stop"])
    assert "[DONE]" not in response.text
    assert response.headers["x-coterie-expert"] == "coder"


@pytest.mark.parametrize("stream", [False, True])
async def test_strategies_answer_messages_too(api: Api, stream: bool) -> None:
    response = await ask(api, CODE, stream=stream, routing={"strategy": "panel"})
    assert response.status_code == 200, response.text
    if stream:
        last = events_of(response.text)[-2]
        assert last["type"] == "message_delta" and last["routing"]["trace"]["steps"]
    else:
        assert response.json()["routing"]["strategy"] == "panel"


REFUSED = [
    ("POST", "/v1/messages", b"{", 400, "invalid_request_error"),
    ("POST", "/v1/messages", b"[]", 400, "invalid_request_error"),
    ("POST", "/v1/messages", b'{"model": "coterie", "messages": []}', 400, "invalid_request_error"),
    ("POST", "/v1/messages", {"max_tokens": None}, 400, "invalid_request_error"),
    ("POST", "/v1/messages", {"model": "nobody"}, 404, "not_found_error"),
    ("POST", "/v1/messages", {"max_tokens": 0}, 400, "invalid_request_error"),
    ("POST", "/v1/messages", {"messages": [{"role": "tool", "content": "x"}]}, 400, "invalid_request_error"),
    ("POST", "/v1/messages", {"tools": [{"type": "web_search_20250305"}]}, 400, "invalid_request_error"),
    ("POST", "/v1/messages/count_tokens", {"model": "nobody"}, 404, "not_found_error"),
    ("GET", "/v1/messages", b"", 405, "invalid_request_error"),
    ("POST", "/v1/messages/batches", b"{}", 404, "not_found_error"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "kind"), REFUSED)
async def test_errors_have_anthropics_shape(
    api: Api, method: str, path: str, body: bytes | Document, status: int, kind: str
) -> None:
    plain = {"model": "coterie", "max_tokens": 8, "messages": [{"role": "user", "content": "x"}]}
    raw = body if isinstance(body, bytes) else json.dumps({**plain, **body}).encode()
    response = await api.http.request(method, path, content=raw)
    document = response.json()
    assert (response.status_code, document["type"], document["error"]["type"]) == (status, "error", kind)
    assert document["error"]["message"] and document["error"]["details"]["error_code"]
    assert document["request_id"] == response.headers["request-id"]


async def test_an_expert_that_fails_is_an_error_of_anthropics_shape(api: Api) -> None:
    async with anthropic(api) as client:
        with pytest.raises(NotFoundError) as failed:
            await client.messages.create(
                model="nobody", max_tokens=8, messages=[{"role": "user", "content": "x"}]
            )
    assert failed.value.type == "not_found_error"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-api-key": "secret"}, 200),
        ({"authorization": "Bearer secret"}, 200),
        ({"authorization": "Bearer other", "x-api-key": "secret"}, 200),
        ({"authorization": "Bearer secret", "x-api-key": "other"}, 200),
        ({"authorization": "Basic secret"}, 401),
        ({"x-api-key": "other"}, 401),
        ({}, 401),
    ],
)
async def test_keys_come_in_either_header(world: World, headers: dict[str, str], status: int) -> None:
    async with world.serve(api_keys="me:secret") as api:
        response = await ask(api, headers=headers)
        assert response.status_code == status, response.text
        if status == 401:
            assert response.json()["error"]["type"] == "authentication_error"
        assert (await api.http.get("/v1/models", headers=headers)).status_code == status


async def test_tokens_are_counted_without_asking_anybody(api: Api) -> None:
    async with anthropic(api) as client:
        short, long, named = [
            await client.messages.count_tokens(model=model, messages=[{"role": "user", "content": text}])
            for model, text in (("coterie", CODE), ("coterie", CODE * 10), ("talker", CODE))
        ]
    assert 0 < short.input_tokens < long.input_tokens and named.input_tokens > 0
    assert not any(fake.log.started for fake in api.fakes.values())


async def test_what_nobody_could_answer_is_counted_all_the_same(api: Api) -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    body = {"model": "coterie", "messages": [{"role": "user", "content": TALK * 2000}], "tools": [search]}
    counted = await api.http.post("/v1/messages/count_tokens", json=body)
    assert counted.json()["input_tokens"] > 4000, counted.text


async def test_clients_that_look_whether_anybody_is_there(api: Api) -> None:
    assert (await api.http.head("/")).status_code == 200
    assert (await api.http.post("/v1/messages?beta=true", json={})).status_code == 400


async def test_anthropics_clients_get_models_in_their_shape(api: Api) -> None:
    async with anthropic(api) as client:
        found = {model.id: model async for model in await client.models.list()}
        assert "words" not in found  # the encoder, which answers no messages
        coder = await client.models.retrieve("coder")
    assert set(found) > {"coterie", "coterie/coding", "talker"}
    assert coder.max_input_tokens == 4000 and coder == found["coder"]
    headers = {"anthropic-version": "2023-06-01"}
    listed = (await api.http.get("/v1/models", headers=headers)).json()["data"]
    assert [problems(ModelInfo, each) for each in listed] == [[]] * len(listed)
    assert (await api.http.get("/v1/models")).json()["object"] == "list"


# An expert whose server speaks Messages itself


@pytest.fixture
def native(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningAnthropic]:
    """A server of Anthropic's protocol in the place of the coder."""
    monkeypatch.setenv("NATIVE_KEY", KEY)
    with run_anthropic_server() as server:
        world.endpoints["coder"] = f"{server.base}/v1"
        world.own["coder"] = {"dialects": ["messages"], "api_key_env": "NATIVE_KEY"}
        yield server


CACHED = {"type": "text", "text": CODE, "cache_control": {"type": "ephemeral"}}
BY_ID = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}


async def test_a_server_that_speaks_messages_gets_them_as_they_came(
    world: World, native: RunningAnthropic
) -> None:
    turns = [{"role": "user", "content": [CACHED]}]
    ours = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    said = {"type": "text", "text": "Yes."}
    earlier = [{"role": "user", "content": TALK}, {"role": "assistant", "content": [ours, said]}]
    async with world.serve(check_health=False) as api:
        response = await ask(
            api,
            model="coder",
            messages=[*earlier, *turns],
            some_beta={"on": 1},
            headers={"anthropic-beta": "some-beta"},
        )
        message = response.json()
        assert problems(Message, message) == []
        assert message["content"][0]["text"] == f"Claude heard: {CODE}"
        assert (message["model"], message["routing"]["expert"]) == ("coder", "coder")
        assert (await api.decision(message["routing"]["id"]))["usage"]["completion_tokens"] == 7
    assert native.seen.bodies[0] == {
        "model": "coder",
        "max_tokens": 64,
        "messages": [earlier[0], {"role": "assistant", "content": [said]}, *turns],
        "some_beta": {"on": 1},
    }
    assert native.seen.headers[0]["anthropic-beta"] == "some-beta"


async def test_its_stream_is_passed_on_with_the_decision(world: World, native: RunningAnthropic) -> None:
    async with world.serve(check_health=False) as api:
        response = await ask(api, model="coder", stream=True, tools=[LOOK])
    events = events_of(response.text)
    assert events[0]["message"]["routing"]["expert"] == events[0]["message"]["model"] == "coder"
    assert [event["type"] for event in events if "type" in event][-2:] == ["message_delta", "message_stop"]
    assert any(event.get("content_block", {}).get("type") == "tool_use" for event in events)


@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_server_refuses_of_messages_is_asked_as_a_chat(world: World, stream: bool) -> None:
    """A server that knows less of Messages than our translation does."""

    def refuse(request: Request) -> Response:
        return JSONResponse(
            {"type": "error", "error": {"type": "BadRequestError", "message": "no such block"}}, 400
        )

    app = Starlette(routes=[Route("/v1/messages", refuse, methods=["POST"])])
    app.mount("/", create_fake_expert(name="coder"))
    world.own["coder"] = {"dialects": ["messages"]}
    with serve_in_thread(app) as port:
        world.endpoints["coder"] = f"http://127.0.0.1:{port}/v1"
        async with world.serve() as api:
            response = await ask(api, CODE, model="coder", stream=stream)
    assert response.status_code == 200 and CODE.split()[0] in response.text
    assert response.headers["x-coterie-expert"] == "coder"


async def test_vllm_goes_on_with_an_answer_that_was_begun(world: World) -> None:
    """As a chat: its own Messages would begin another answer."""
    local = {"source": "somewhere", "port": world.fakes["coder"].port, "max_model_len": 4000}
    world.own["coder"] = {"dialects": ["messages"], "local": local, "capabilities": []}
    begun = [{"role": "user", "content": CODE}, {"role": "assistant", "content": "def reversed("}]
    async with world.serve() as api:
        response = await ask(api, model="coder", messages=begun)
    assert response.status_code == 200, response.text
    assert api.fakes["coder"].log.last["continue_final_message"] is True


async def test_what_only_messages_can_say_goes_to_who_speaks_them(
    world: World, native: RunningAnthropic
) -> None:
    turns = [{"role": "user", "content": [BY_ID, {"type": "text", "text": TALK}]}]
    async with world.serve(check_health=False, expert_fields={"capabilities": ["vision"]}) as api:
        routed = await ask(api, messages=turns)
        assert routed.json()["routing"]["expert"] == "coder", routed.text
        named = await ask(api, model="talker", messages=turns)
        several = await ask(api, messages=turns, routing={"strategy": "panel"})
    assert (named.status_code, several.status_code) == (400, 400)
    assert named.json()["error"]["details"] == {
        "error_code": "unsupported_value",
        "param": "messages[0].content[0].source",
    }
