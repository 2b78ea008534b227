"""Chat completions through the service, over real sockets, answered by fake experts."""

import json
from typing import Any

import httpx2
import pytest

from tests.integration.app.world import CODE, TALK, UNCLEAR, Api, World, events_of


async def test_a_request_is_answered_by_the_expert_of_its_category(api: Api) -> None:
    for text, expert, category in ((CODE, "coder", "coding"), (TALK, "talker", "smalltalk")):
        response = await api.chat(text)
        assert response.status_code == 200
        body = response.json()
        assert body["choices"][0]["message"]["content"] == f"{expert} heard: {text}"
        assert body["routing"]["expert"] == expert
        assert body["routing"]["category"] == category
        assert body["routing"]["reason"] == "matched"
        assert response.headers["x-coterie-expert"] == expert
        assert response.headers["x-coterie-category"] == category
        assert response.headers["x-coterie-reason"] == "matched"
        assert response.headers["x-coterie-decision"] == body["routing"]["id"]


async def test_an_unclear_request_goes_to_the_generalist(api: Api) -> None:
    routing = (await api.chat(UNCLEAR)).json()["routing"]
    assert (routing["expert"], routing["reason"], routing["classification"]) == (
        "backup",
        "uncertain",
        "unclassified",
    )


async def test_the_openai_client_reads_a_whole_answer(api: Api) -> None:
    async with api.openai() as client:
        answer = await client.chat.completions.create(
            model="coterie", messages=[{"role": "user", "content": CODE}]
        )
    assert answer.choices[0].message.content == f"coder heard: {CODE}"
    assert answer.usage is not None
    assert answer.model_extra is not None
    assert answer.model_extra["routing"]["expert"] == "coder"


async def test_the_openai_client_reads_a_stream(api: Api) -> None:
    async with api.openai() as client:
        stream = await client.chat.completions.create(
            model="coterie",
            messages=[{"role": "user", "content": CODE}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == f"coder heard: {CODE}"
    assert chunks[-1].usage is not None
    assert chunks[0].model_extra is not None
    assert chunks[0].model_extra["routing"]["expert"] == "coder"
    assert all("routing" not in (chunk.model_extra or {}) for chunk in chunks[1:])


async def test_only_the_first_event_of_a_stream_is_changed(api: Api) -> None:
    body = {"model": "x", "messages": [{"role": "user", "content": TALK}], "stream": True}
    direct = await api.http.post(f"{api.fakes['talker'].endpoint}/chat/completions", json=body)
    routed = await api.chat(TALK, stream=True)
    assert routed.headers["content-type"].startswith("text/event-stream")
    theirs, ours = events_of(direct.text), events_of(routed.text)
    assert len(ours) == len(theirs)
    assert ours[-1] == "[DONE]"
    first = dict(ours[0])
    assert first.pop("routing")["expert"] == "talker"
    for mine, other in zip([first, *ours[1:-1]], theirs[:-1], strict=True):
        changing = {"id": None, "created": None, "model": None}
        assert mine | changing == other | changing


async def test_unknown_fields_reach_the_expert_and_routing_does_not(api: Api) -> None:
    await api.chat(CODE, seed=7, my_field={"deep": [1]}, routing={"exclude": ["talker"]})
    received = api.fakes["coder"].log.last
    assert received["seed"] == 7
    assert received["my_field"] == {"deep": [1]}
    assert "routing" not in received
    assert received["model"] == "coder"


async def test_a_model_name_pins_an_expert_or_a_category(api: Api) -> None:
    by_expert = (await api.chat(CODE, model="talker")).json()["routing"]
    assert (by_expert["expert"], by_expert["reason"]) == ("talker", "pinned")
    by_category = (await api.chat(CODE, model="coterie/smalltalk")).json()["routing"]
    assert (by_category["expert"], by_category["reason"], by_category["category"]) == (
        "talker",
        "pinned",
        "smalltalk",
    )
    by_option = (await api.chat(CODE, routing={"category": "smalltalk"})).json()["routing"]
    assert (by_option["expert"], by_option["reason"]) == ("talker", "pinned")


async def test_exclude_and_boost_change_the_choice(api: Api) -> None:
    excluded = (await api.chat(CODE, routing={"exclude": ["coder"]})).json()["routing"]
    assert excluded["expert"] == "backup"
    boosted = (await api.chat(CODE, routing={"boost": {"talker": 1.0}})).json()["routing"]
    assert boosted["expert"] == "talker"


async def test_tools_rule_out_experts_without_them_and_calls_come_back(api: Api) -> None:
    tool = {"type": "function", "function": {"name": "forecast", "parameters": {"type": "object"}}}
    body = (await api.chat(TALK, tools=[tool])).json()
    assert body["routing"]["reason"] == "filtered"
    assert body["routing"]["expert"] == "coder"
    assert body["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "forecast"


async def test_content_parts_are_read_and_passed_on_in_chats_own_form(api: Api) -> None:
    for kind in ("text", "input_text", "output_text"):
        messages = [{"role": "user", "content": [{"type": kind, "text": CODE}]}]
        response = await api.chat(messages=messages)
        assert response.json()["routing"]["expert"] == "coder"
        assert api.fakes["coder"].log.last["messages"][0]["content"] == [{"type": "text", "text": CODE}]


async def test_an_unknown_part_is_named(api: Api) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": CODE}, {"type": "smell"}]}]
    for path in ("/v1/chat/completions", "/v1/route"):
        response = await api.http.post(path, json={"model": "coterie", "messages": messages})
        error = response.json()["error"]
        assert (response.status_code, error["param"]) == (400, "messages[0].content[1].type")
        assert "input_text" in error["message"]


async def test_media_without_text_are_routed_by_what_they_need_and_are_not_small_talk(world: World) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "user", "content": [image]}]
    async with world.serve(expert_fields={"capabilities": ["vision"]}) as api:
        routing = (await api.chat(messages=messages)).json()["routing"]
        assert (routing["expert"], routing["reason"]) == ("backup", "uncertain")
        assert (routing["category"], routing["classification"]) == (None, "unclassified")


async def test_a_conversation_keeps_its_expert_when_the_next_request_is_unclear(api: Api) -> None:
    first = (await api.chat(CODE, routing={"conversation": "c1"})).json()["routing"]
    for options in ({"conversation": "c1"}, {"previous_decision": first["id"]}):
        kept = (await api.chat(UNCLEAR, routing=options)).json()["routing"]
        assert (kept["expert"], kept["reason"]) == ("coder", "sticky")
    other = (await api.chat(UNCLEAR, routing={"conversation": "c2"})).json()["routing"]
    assert other["reason"] == "uncertain"


async def test_a_conversation_is_remembered_over_a_restart(world: World) -> None:
    async with world.serve() as api:
        first = (await api.chat(CODE, routing={"conversation": "c1"})).json()["routing"]
    async with world.serve() as api:
        for options in ({"conversation": "c1"}, {"previous_decision": first["id"]}):
            kept = (await api.chat(UNCLEAR, routing=options)).json()["routing"]
            assert (kept["expert"], kept["reason"]) == ("coder", "sticky")


async def test_route_decides_without_asking_anybody(api: Api) -> None:
    response = await api.http.post(
        "/v1/route", json={"model": "coterie", "messages": [{"role": "user", "content": CODE}]}
    )
    assert response.status_code == 200
    document = response.json()
    assert document["expert"] == "coder"
    assert [choice["expert"] for choice in document["ranking"]] == ["coder", "backup", "talker"]
    assert all(fake.log.started == 0 for fake in api.fakes.values())


async def test_the_same_request_has_the_same_decision(api: Api) -> None:
    body = {"model": "coterie", "messages": [{"role": "user", "content": CODE}]}
    first, second = [(await api.http.post("/v1/route", json=body)).json() for _ in range(2)]
    assert first.pop("id") != second.pop("id")
    assert first == second


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_stops_the_expert(api: Api, stream: bool) -> None:
    async with httpx2.AsyncClient(base_url=api.url) as client:
        request = client.build_request(
            "POST",
            "/v1/chat/completions",
            json={
                "model": "coder",
                "messages": [{"role": "user", "content": "word " * 400}],
                "stream": stream,
                "fake": {"token_delay_s": 0.05},
            },
            timeout=1.0,
        )
        if stream:
            response = await client.send(request, stream=True)
            decision = response.headers["x-coterie-decision"]
            pieces = response.aiter_bytes()  # kept: without it the client closes its connection
            await anext(pieces)
            assert (await api.decision(decision))["status"] == "running"
            await response.aclose()
        else:
            with pytest.raises(httpx2.ReadTimeout):
                await client.send(request)
    log = api.fakes["coder"].log
    await log.until(lambda log: log.cancelled == 1)
    listed = (await api.http.get("/v1/decisions")).json()["data"]
    assert [(row["status"], row["error_code"]) for row in listed] == [("cancelled", "client_closed_request")]
    assert api.services.lifecycle.in_flight == {}


async def test_the_request_id_is_kept_or_made(api: Api) -> None:
    given = await api.http.get("/healthz", headers={"x-request-id": "abc-1"})
    assert given.headers["x-request-id"] == "abc-1"
    odd = await api.http.get("/healthz", headers={"x-request-id": "a b"})
    assert odd.headers["x-request-id"].startswith("req_")
    answered = await api.http.post(
        "/v1/chat/completions",
        json={"model": "coterie", "messages": [{"role": "user", "content": TALK}]},
        headers={"x-request-id": "abc-2"},
    )
    assert (await api.decision(answered.json()["routing"]["id"]))["request_id"] == "abc-2"
    assert api.fakes["talker"].log.headers[-1]["x-request-id"] == "abc-2"


async def test_text_that_is_half_a_surrogate_pair_is_answered(api: Api) -> None:
    raw = json.dumps({"model": "coterie", "messages": [{"role": "user", "content": f"{CODE} \ud83d"}]})
    response = await api.http.post("/v1/chat/completions", content=raw.encode())
    assert response.status_code == 200
    assert response.json()["routing"]["expert"] == "coder"


async def test_an_old_clients_functions_are_answered_by_a_function_call(api: Api) -> None:
    functions = [{"name": "forecast", "parameters": {"type": "object"}}]
    asked: list[dict[str, object]] = [{"role": "user", "content": TALK}]
    ask: dict[str, Any] = {"functions": functions, "function_call": "auto"}
    choice = (await api.chat(messages=asked, **ask)).json()["choices"][0]
    assert (choice["finish_reason"], choice["message"]["function_call"]["name"]) == (
        "function_call",
        "forecast",
    )
    sent = api.fakes["coder"].log.last
    assert sent["tools"] == [{"type": "function", "function": functions[0]}]
    assert not {"functions", "function_call"} & sent.keys()
    events = events_of((await api.chat(messages=asked, stream=True, **ask)).text)[:-1]
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    assert "".join(each.get("function_call", {}).get("name", "") for each in deltas) == "forecast"
    assert all("tool_calls" not in each for each in deltas)
    assert events[-1]["choices"][0]["finish_reason"] == "function_call"
    result = {"role": "function", "name": "forecast", "content": "sun"}
    answer = await api.chat(messages=[*asked, choice["message"], result], **ask)
    assert answer.json()["choices"][0]["finish_reason"] == "stop"
    roles = [message["role"] for message in api.fakes["coder"].log.last["messages"]]
    assert roles == ["user", "assistant", "tool"]
