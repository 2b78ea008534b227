"""The fake expert's own shapes, without a network: its app called directly."""

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.responses import Response, ResponseStreamEvent

from experts.fake import FAULTS, Behaviour, create_fake_expert, scripted
from tests.contracts.validation import problems


async def post(
    app: Any,
    body: dict[str, Any] | bytes,
    sees: Callable[[dict[str, Any]], None] = lambda message: None,
    path: str = "/v1/chat/completions",
) -> tuple[int, bytes]:
    """Status and body of one request, straight through the ASGI app. `sees` gets each message of the answer,
    as a client does."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent: list[dict[str, Any]] = []
    received = iter([{"type": "http.request", "body": raw, "more_body": False}])

    async def receive() -> dict[str, Any]:
        message = next(received, None)
        if message is None:  # the client stays
            await asyncio.Event().wait()
        assert message is not None
        return message

    async def send(message: Any) -> None:
        sent.append(message)
        sees(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("fake", 80),
        "root_path": "",
    }
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def chat(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


async def test_it_repeats_what_it_was_told_and_logs_it() -> None:
    app = create_fake_expert(name="echo")
    status, body = await post(app, chat("good day"))
    assert status == 200
    assert json.loads(body)["choices"][0]["message"]["content"] == "echo heard: good day"
    assert (app.state.log.started, app.state.log.finished, app.state.log.cancelled) == (1, 1, 0)
    assert app.state.log.last["messages"][0]["content"] == "good day"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_has_ended_when_its_client_has_the_whole_answer(stream: bool) -> None:
    app = create_fake_expert()
    seen: list[int] = []
    await post(app, chat("good day", stream=stream), lambda message: seen.append(app.state.log.in_flight))
    assert seen[0] == 1
    assert seen[-1] == 0
    assert app.state.log.finished == 1


async def test_a_request_overrides_single_fields_of_the_behaviour() -> None:
    app = create_fake_expert(Behaviour(reply="yes", confidence=0.5))
    _, body = await post(app, chat("sure?", fake={"confidence": 0.25}, logprobs=True))
    choice = json.loads(body)["choices"][0]
    assert choice["message"]["content"] == "yes"
    assert choice["logprobs"]["content"][0]["logprob"] == math.log(0.25)


async def test_behaviour_may_depend_on_the_request() -> None:
    app = create_fake_expert(lambda body: Behaviour(status=500 if body.get("temperature") else 200))
    assert (await post(app, chat("a")))[0] == 200
    assert (await post(app, chat("a", temperature=1)))[0] == 500


async def test_it_scores_on_demand() -> None:
    judge = create_fake_expert(scripted({"2+2?": "[[9]]"}, default=Behaviour(reply="[[1]]")))
    for question, verdict in (("2+2?", "[[9]]"), ("other", "[[1]]")):
        _, body = await post(judge, chat(question))
        assert json.loads(body)["choices"][0]["message"]["content"] == verdict


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
async def test_a_limit_cuts_the_answer_and_says_so(limit: str) -> None:
    _, body = await post(create_fake_expert(), chat("a b c d e", **{limit: 2}))
    reply = json.loads(body)
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 2


async def test_a_schema_is_answered_with_json() -> None:
    _, body = await post(create_fake_expert(), chat("hi", response_format={"type": "json_schema"}))
    assert json.loads(json.loads(body)["choices"][0]["message"]["content"]) == {"answer": "fake heard: hi"}


async def test_a_tool_result_is_answered_in_words() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    body = chat("hi", tools=[tool])
    body["messages"].append({"role": "tool", "tool_call_id": "call_fake_0", "content": "42"})
    _, answer = await post(create_fake_expert(), body)
    assert json.loads(answer)["choices"][0]["finish_reason"] == "stop"


async def test_a_body_that_is_not_json_is_refused() -> None:
    assert (await post(create_fake_expert(), b"{"))[0] == 400


async def test_streamed_and_whole_answers_say_the_same() -> None:
    app = create_fake_expert()
    _, whole = await post(app, chat("one two  three\nfour"))
    _, sse = await post(app, chat("one two  three\nfour", stream=True))
    events = [json.loads(line[6:]) for line in sse.split(b"\n\n") if line and line != b"data: [DONE]"]
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert text == json.loads(whole)["choices"][0]["message"]["content"]


TOOL = {
    "name": "look_up",
    "parameters": {
        "type": "object",
        "properties": {"place": {"type": "string"}, "day": {"type": "integer"}},
        "required": ["place"],
    },
}
NATIVE: dict[str, tuple[str, dict[str, Any], Any, Any]] = {
    "completions": ("/v1/completions", {"prompt": "tides"}, Completion, None),
    "responses": ("/v1/responses", {"input": "tides"}, Response, ResponseStreamEvent),
    "responses, a call": (
        "/v1/responses",
        {"input": [{"role": "user", "content": "tides"}], "tools": [{"type": "function", **TOOL}]},
        Response,
        ResponseStreamEvent,
    ),
    "responses, cut": (
        "/v1/responses",
        {"input": "tides", "max_output_tokens": 1},
        Response,
        ResponseStreamEvent,
    ),
    "messages": (
        "/v1/messages",
        {"max_tokens": 9, "messages": [{"role": "user", "content": "tides"}]},
        Message,
        RawMessageStreamEvent,
    ),
    "messages, a call": (
        "/v1/messages",
        {
            "max_tokens": 9,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "tides"}]}],
            "tools": [{"name": "look_up", "input_schema": TOOL["parameters"]}],
        },
        Message,
        RawMessageStreamEvent,
    ),
}


def events_in(sse: bytes) -> list[dict[str, Any]]:
    data = [line.removeprefix("data: ") for line in sse.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(each) for each in data if each != "[DONE]"]


@pytest.mark.parametrize(("path", "body", "whole", "event"), NATIVE.values(), ids=NATIVE)
async def test_each_dialect_is_spoken_to_the_letter(
    path: str, body: dict[str, Any], whole: Any, event: Any
) -> None:
    app = create_fake_expert()
    status, answer = await post(app, {"model": "m", **body}, path=path)
    assert status == 200
    assert problems(whole, json.loads(answer)) == []
    _, sse = await post(app, {"model": "m", **body, "stream": True}, path=path)
    events = events_in(sse)
    assert events
    # The SDK reads a streamed completion as a whole one, which its chunks are not.
    assert event is None or [each for said in events for each in problems(event, said)] == []


@pytest.mark.parametrize("packed", [False, True])
async def test_embeddings_depend_on_their_text_alone(packed: bool) -> None:
    body = {"input": ["a", "b", "a"], **({"encoding_format": "base64"} if packed else {})}
    _, answer = await post(create_fake_expert(), body, path="/v1/embeddings")
    document = json.loads(answer)
    one, other, again = (each["embedding"] for each in document["data"])
    assert one == again != other
    if not packed:
        assert problems(CreateEmbeddingResponse, document) == []
        assert sum(value * value for value in one) == pytest.approx(1)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", chat("a b c")),
        ("/tokenize", {"prompt": "a b c"}),
        ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": "a b c"}]}),
    ],
)
async def test_tokens_are_counted_on_demand(path: str, body: dict[str, Any]) -> None:
    app = create_fake_expert()
    _, answer = await post(app, body, path=path)
    document = json.loads(answer)
    assert document.get("count", document.get("input_tokens")) == 4
    assert (app.state.log.counted, app.state.log.started) == (1, 0)


async def test_it_calls_a_tool_step_by_step_and_then_answers() -> None:
    app = create_fake_expert(Behaviour(reply="Done.", tool_steps=3))
    body = chat("tides", tools=[{"type": "function", "function": TOOL}])
    calls = []
    for _ in range(3):
        _, answer = await post(app, body)
        message = json.loads(answer)["choices"][0]["message"]
        (call,) = message["tool_calls"]
        calls.append(call)
        body["messages"] += [message, {"role": "tool", "tool_call_id": call["id"], "content": "high"}]
    assert len({call["id"] for call in calls}) == len({call["function"]["arguments"] for call in calls}) == 3
    assert json.loads(calls[2]["function"]["arguments"]) == {"place": "tides (2)", "day": 2}
    _, answer = await post(app, body)
    assert json.loads(answer)["choices"][0]["message"]["content"] == "Done."


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
@pytest.mark.parametrize("case", FAULTS)
async def test_every_fault_can_be_played_in_every_dialect(case: str, path: str) -> None:
    body = chat("one two three four", input="one two three four", max_tokens=9, fake={"case": case})
    for stream in (False, True):
        status, _ = await post(create_fake_expert(), {**body, "stream": stream}, path=path)
        assert status in {200, int(case[:3]) if case[:3].isdigit() else 200}
