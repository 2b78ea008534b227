"""The fake expert's own shapes, without a network: its app called directly."""

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from experts.fake import Behaviour, create_fake_expert, scripted


async def post(
    app: Any, body: dict[str, Any] | bytes, sees: Callable[[dict[str, Any]], None] = lambda message: None
) -> tuple[int, bytes]:
    """Status and body of one chat request, straight through the ASGI app. `sees` gets each message of the
    answer, as a client does."""
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
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
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
