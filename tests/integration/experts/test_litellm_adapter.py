"""LiteLLM experts against a server that speaks Anthropic's native messages: they look like any other."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from experts.client import ExpertClient
from experts.errors import (
    ContextTooLong,
    ExpertBadReply,
    ExpertBusy,
    ExpertError,
    ExpertRejected,
    ExpertTimeout,
    ExpertUnavailable,
)
from experts.expert import Expert
from experts.expert_replies import raw_bytes
from tests.integration.experts.anthropic_server import KEY, RunningAnthropic, run_anthropic_server
from tests.integration.experts.conftest import ask, make_expert

LOOK_UP = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look something up.",
        "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    },
}


@pytest.fixture(scope="module")
def anthropic() -> Iterator[RunningAnthropic]:
    with run_anthropic_server() as running:
        yield running


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTERIE_TEST_KEY", KEY)


def claude(anthropic: RunningAnthropic, model: str = "claude-talks", **fields: Any) -> Expert:
    defaults: dict[str, Any] = {
        "provider": "litellm",
        "model": f"anthropic/{model}",
        "api_key_env": "COTERIE_TEST_KEY",
        "system_prompt": "Be kind.",
    }
    return make_expert(anthropic.base, **defaults | fields)


async def events(client: ExpertClient, expert: Expert, body: dict[str, Any]) -> list[dict[str, Any]]:
    async with client.stream(expert, body) as stream:
        sse = b"".join([raw_bytes(events) async for events in stream])
    assert sse.endswith(b"data: [DONE]\n\n")
    lines = [line for line in sse.decode().split("\n\n") if line]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


async def test_a_whole_answer_has_openais_shape(client: ExpertClient, anthropic: RunningAnthropic) -> None:
    reply = await client.complete(claude(anthropic), ask("good morning"))
    choice = reply.body["choices"][0]
    assert choice["message"]["content"] == "Claude heard: good morning"
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] == "stop"
    assert reply.body["object"] == "chat.completion"
    assert reply.body["usage"]["prompt_tokens"] == 12
    assert reply.body["usage"]["completion_tokens"] == 7


async def test_the_native_protocol_is_spoken(client: ExpertClient, anthropic: RunningAnthropic) -> None:
    expert = claude(anthropic, sampling={"temperature": 0.5})
    await client.complete(expert, ask("hi", top_k=3, max_tokens=50, stop=["END"]))
    sent = anthropic.seen.bodies[-1]
    assert sent["system"] == [{"type": "text", "text": "Be kind."}]
    assert sent["messages"][0]["role"] == "user"
    assert (sent["temperature"], sent["top_k"], sent["max_tokens"]) == (0.5, 3, 50)
    assert sent["stop_sequences"] == ["END"]
    assert anthropic.seen.headers[-1]["x-api-key"] == KEY


async def test_an_answer_streams_word_by_word(client: ExpertClient, anthropic: RunningAnthropic) -> None:
    body = ask("good morning", stream_options={"include_usage": True})
    received = await events(client, claude(anthropic), body)
    texts = [c["choices"][0]["delta"].get("content") for c in received if c["choices"]]
    assert "".join(text for text in texts if text) == "Claude heard: good morning"
    assert len([text for text in texts if text]) == 4
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in received)
    assert [c["choices"][0]["finish_reason"] for c in received if c["choices"]].count("stop") == 1
    assert received[-1]["usage"]["completion_tokens"] == 7


async def test_a_tool_is_called_and_its_result_goes_back(
    client: ExpertClient, anthropic: RunningAnthropic
) -> None:
    expert = claude(anthropic)
    body = ask("tides", tools=[LOOK_UP], tool_choice="auto")
    reply = await client.complete(expert, body)
    choice = reply.body["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    call = choice["message"]["tool_calls"][0]
    assert call["function"]["name"] == "look_up"
    assert json.loads(call["function"]["arguments"]) == {"text": "tides"}
    assert anthropic.seen.bodies[-1]["tools"][0]["input_schema"]["required"] == ["text"]

    result = {"role": "tool", "tool_call_id": call["id"], "content": "high at noon"}
    answered = await client.complete(
        expert, body | {"messages": [*body["messages"], choice["message"], result]}
    )
    assert answered.body["choices"][0]["message"]["content"] == "Claude heard: result toolu_01"


async def test_a_tool_call_streams_in_openais_pieces(
    client: ExpertClient, anthropic: RunningAnthropic
) -> None:
    received = await events(client, claude(anthropic), ask("tides", tools=[LOOK_UP]))
    *said, usage = received
    calls = [c for chunk in said for c in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert calls[0]["function"]["name"] == "look_up"
    assert calls[0]["id"] == "toolu_01"
    assert json.loads("".join(c["function"]["arguments"] for c in calls)) == {"text": "tides"}
    assert said[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert usage["choices"] == [] and usage["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("model", "error", "status"),
    [
        ("claude-too-long", ContextTooLong, 400),
        ("claude-rejects", ExpertRejected, 400),
        ("claude-unknown", ExpertUnavailable, 503),
        ("claude-limited", ExpertBusy, 429),
        ("claude-broken", ExpertUnavailable, 503),
        ("claude-overloaded", ExpertUnavailable, 503),
        ("claude-rubbish", ExpertBadReply, 502),
        ("claude-silent", ExpertTimeout, 504),
    ],
)
async def test_the_services_errors_are_ours(
    client: ExpertClient,
    anthropic: RunningAnthropic,
    model: str,
    error: type[ExpertError],
    status: int,
    streamed: bool,
) -> None:
    patience = 0.5 if model == "claude-silent" else 20
    expert = claude(
        anthropic, model, timeouts={"connect_s": 10, "first_byte_s": patience, "total_s": patience}
    )
    with pytest.raises(error) as caught:
        if streamed:
            await events(client, expert, ask("a private matter"))
        else:
            await client.complete(expert, ask("a private matter"))
    assert type(caught.value) is error
    assert caught.value.status == status
    assert "private" not in str(caught.value)


async def test_a_rejection_says_what_the_service_said(
    client: ExpertClient, anthropic: RunningAnthropic
) -> None:
    with pytest.raises(ExpertRejected) as caught:
        await client.complete(claude(anthropic, "claude-rejects"), ask())
    assert caught.value.error["message"] == "temperature: range is 0..1"
    with pytest.raises(ContextTooLong) as too_long:
        await client.complete(claude(anthropic, "claude-too-long"), ask())
    assert too_long.value.error["code"] == "context_length_exceeded"
    assert too_long.value.error["message"] == "prompt is too long: 210000 tokens > 200000 maximum"


async def test_a_refused_key_is_never_repeated(
    client: ExpertClient, anthropic: RunningAnthropic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COTERIE_TEST_KEY", "wrong-key-456")
    with pytest.raises(ExpertUnavailable, match="refused our credentials") as caught:
        await client.complete(claude(anthropic), ask())
    assert "wrong-key-456" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("model", ["claude-dies", "claude-fails-midway"])
async def test_an_answer_that_breaks_in_the_middle_raises_after_what_was_good(
    client: ExpertClient, anthropic: RunningAnthropic, model: str
) -> None:
    received = b""
    with pytest.raises(ExpertBadReply):
        async with client.stream(claude(anthropic, model), ask()) as stream:
            async for events in stream:
                received += raw_bytes(events)
    assert b'"Claude"' in received
    assert b"heard" not in received


async def test_a_stall_in_the_middle_times_out(client: ExpertClient, anthropic: RunningAnthropic) -> None:
    expert = claude(anthropic, "claude-stalls", timeouts={"first_byte_s": 20, "idle_s": 0.5, "total_s": 30})
    left = anthropic.seen.left
    with pytest.raises(ExpertTimeout, match="stalled in the middle"):
        await events(client, expert, ask())
    await anthropic.seen.until_left(left + 1)


async def test_leaving_early_closes_the_services_stream(
    client: ExpertClient, anthropic: RunningAnthropic
) -> None:
    left = anthropic.seen.left
    async with client.stream(claude(anthropic), ask("word " * 200)) as stream:
        await anext(stream)
    await anthropic.seen.until_left(left + 1)


async def test_a_caller_cannot_steer_litellm_itself(
    client: ExpertClient, anthropic: RunningAnthropic
) -> None:
    with run_anthropic_server() as thief:
        stolen = {
            "api_base": thief.base,
            "base_url": thief.base,
            "mock_response": "lies",
            "extra_headers": {"x": "y"},
        }
        reply = await client.complete(claude(anthropic), ask("hi", **stolen))
        assert reply.body["choices"][0]["message"]["content"] == "Claude heard: hi"
        assert thief.seen.bodies == []
    assert "x" not in anthropic.seen.headers[-1]


async def test_a_service_that_is_not_there_is_unavailable(client: ExpertClient) -> None:
    gone = make_expert("http://127.0.0.1:9", provider="litellm", model="anthropic/claude-talks")
    gone = gone.model_copy(update={"api_key_env": "COTERIE_TEST_KEY"})
    with pytest.raises(ExpertUnavailable):
        await client.complete(gone, ask())


def test_importing_the_client_loads_no_litellm_and_loading_it_calls_no_network() -> None:
    program = """
import asyncio, sys
calls = []
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        calls.append(event)
sys.addaudithook(watch)
import experts.client, experts.health, experts.litellm_adapter
assert "litellm" not in sys.modules, "litellm was imported"
assert "aiohttp" not in sys.modules, "aiohttp was imported"
from experts.expert import Expert
expert = Expert(name="a", provider="litellm", model="anthropic/a", params_b=1, context_length=1000)
asyncio.run(experts.client.ExpertClient().prepare([expert]))
assert "litellm" in sys.modules
assert not calls, calls
print("free")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip() == "free", done.stderr
