"""The Responses API through the service: answers, and the responses that are kept for later ones."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from openai import BadRequestError
from openai.types.responses import InputTokenCountResponse, Response, ResponseStreamEvent

from app.serving.stored_responses import MAX_CHAIN
from tests.contracts.validation import problems
from tests.integration.app.world import CODE, TALK, Api, World, events_of

TOOL = {
    "type": "function",
    "name": "look",
    "description": "Looks.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    "strict": False,
}


async def ask(api: Api, text: Any = TALK, **fields: Any) -> httpx2.Response:
    body = {"model": "coterie", "input": text, **fields}
    return await api.http.post("/v1/responses", json=body)


async def answered(api: Api, text: Any = TALK, **fields: Any) -> dict[str, Any]:
    response = await ask(api, text, **fields)
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    assert problems(Response, document) == []
    return document


def text_of(response: dict[str, Any]) -> str:
    return "".join(
        part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"]
    )


@pytest.fixture
async def keeping(world: World) -> AsyncIterator[Api]:
    """A service that keeps prompts."""
    async with world.serve(store_prompts=True) as running:
        yield running


async def test_a_response_is_routed_like_a_chat(api: Api) -> None:
    for text, expert in ((CODE, "coder"), (TALK, "talker")):
        response = await ask(api, text)
        document = response.json()
        assert text_of(document) == f"{expert} heard: {text}"
        assert document["model"] == document["routing"]["expert"] == expert
        assert response.headers["x-coterie-decision"] == document["routing"]["id"]
        decision = await api.decision(document["routing"]["id"])
        assert decision["status"] == "ok"
        assert decision["usage"]["prompt_tokens"] == document["usage"]["input_tokens"]


async def test_a_streamed_response_is_what_the_sdk_knows(api: Api) -> None:
    response = await ask(api, stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = events_of(response.text)
    for event in events:
        assert problems(ResponseStreamEvent, event) == []
    assert events[0]["response"]["routing"]["expert"] == "talker"
    last = events[-1]["response"]
    assert (events[-1]["type"], text_of(last)) == ("response.completed", f"talker heard: {TALK}")
    assert last["usage"]["output_tokens"] > 0
    assert (await api.decision(last["routing"]["id"]))["status"] == "ok"


async def test_a_strategy_answers_in_one_response(api: Api) -> None:
    for stream in (False, True):
        response = await ask(api, CODE, routing={"strategy": "panel"}, stream=stream)
        assert response.status_code == 200, response.text
        last = events_of(response.text)[-1]["response"] if stream else response.json()
        assert problems(Response, last) == []
        steps = last["routing"]["trace"]["steps"]
        assert last["usage"]["output_tokens"] == sum(step["completion_tokens"] for step in steps)


async def test_errors_have_openais_shape_and_name_the_field(api: Api) -> None:
    for fields, status, param in (
        ({"background": True}, 400, "background"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["x"]}]}, 400, "tools[0]"),
        ({"max_output_tokens": "many"}, 400, "max_output_tokens"),
        ({"model": "nobody"}, 404, "model"),
        ({"input": []}, 400, "input"),
    ):
        response = await api.http.post("/v1/responses", json={"model": "coterie", "input": "hi", **fields})
        assert response.status_code == status, fields
        assert response.json()["error"]["param"].startswith(param), fields
    missing = await api.http.post("/v1/responses", json={"model": "coterie"})
    assert missing.status_code == 400


async def test_an_error_after_the_first_byte_fails_the_response(api: Api) -> None:
    response = await ask(api, fake={"error_after": 3}, stream=True)
    last = events_of(response.text)[-1]
    assert problems(ResponseStreamEvent, last) == []
    assert (last["type"], last["response"]["error"]["code"]) == ("response.failed", "server_error")


async def test_turns_go_on_from_the_response_before(keeping: Api) -> None:
    first = await answered(keeping, CODE, instructions="Be brief.", metadata={"turn": "1"})
    second = await answered(keeping, "And sorted?", previous_response_id=first["id"])
    streamed = await ask(keeping, "Thanks.", previous_response_id=second["id"], stream=True)
    third = events_of(streamed.text)[-1]["response"]
    assert third["previous_response_id"] == second["id"]
    said = keeping.fakes[third["model"]].log.last["messages"]
    assert [(message["role"], message["content"]) for message in said] == [
        # Instructions are those of the present request alone.
        ("user", CODE),
        ("assistant", text_of(first)),
        ("user", "And sorted?"),
        ("assistant", text_of(second)),
        ("user", "Thanks."),
    ]
    # The expert of the response before is the conversation's.
    assert second["model"] == third["model"] == "coder"
    listed = (await keeping.http.get(f"/v1/responses/{third['id']}/input_items")).json()
    assert [item["content"][0]["text"] for item in listed["data"]] == [
        *("Thanks.", text_of(second), "And sorted?", text_of(first), CODE)
    ]


async def test_a_tool_call_and_its_output_may_be_two_requests(keeping: Api) -> None:
    called = await answered(keeping, CODE, tools=[TOOL])
    (call,) = called["output"]
    assert call["type"] == "function_call"
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "a lake"}
    done = await answered(keeping, [output], tools=[TOOL], previous_response_id=called["id"])
    assert done["output"][-1]["type"] == "message"
    said = keeping.fakes["coder"].log.last["messages"]
    assert [message["role"] for message in said] == ["user", "assistant", "tool"]
    assert said[1]["tool_calls"][0]["id"] == said[2]["tool_call_id"] == call["call_id"]


async def test_an_item_may_be_named_instead_of_sent(keeping: Api) -> None:
    first = await answered(keeping, TALK)
    items = [{"role": "user", "content": TALK}, {"type": "item_reference", "id": first["output"][0]["id"]}]
    await answered(keeping, [*items, {"role": "user", "content": "Again."}], routing={"expert": "talker"})
    said = keeping.fakes["talker"].log.last["messages"]
    assert [message["content"] for message in said] == [TALK, text_of(first), "Again."]
    # Thoughts that are not kept are gone on without.
    gone = {"type": "item_reference", "id": f"rs_{'0' * 35}"}
    await answered(keeping, [*items, gone, {"role": "user", "content": "Again."}])
    unknown = await ask(keeping, [{"type": "item_reference", "id": f"msg_{'0' * 35}"}])
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (400, "item_not_found")


async def test_items_of_too_many_responses_are_refused_before_they_are_looked_for(keeping: Api) -> None:
    named = [{"type": "item_reference", "id": f"msg_{number:032x}000"} for number in range(MAX_CHAIN + 1)]
    error = (await ask(keeping, named)).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "input")


async def test_stored_responses_are_read_listed_and_deleted(keeping: Api) -> None:
    parts = [{"role": "user", "content": f"{number}"} for number in range(5)]
    made = await answered(
        keeping, [*parts, {"role": "assistant", "content": "5"}, {"role": "user", "content": "6"}]
    )
    place = f"/v1/responses/{made['id']}"
    assert (await keeping.http.get(place)).json() == made
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = (
            await keeping.http.get(f"{place}/input_items", params={"limit": 3, "order": "asc", **after})
        ).json()
        seen += [item["content"][0]["text"] for item in page["data"]]
        assert page["first_id"] == page["data"][0]["id"]
        if not page["has_more"]:
            break
        after = {"after": page["last_id"]}
    assert seen == ["0", "1", "2", "3", "4", "5", "6"]
    bad = await keeping.http.get(f"{place}/input_items", params={"after": "nothing"})
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "after")
    deleted = await keeping.http.delete(place)
    assert deleted.json() == {"id": made["id"], "object": "response", "deleted": True}
    assert (await keeping.http.get(place)).status_code == 404
    assert (await keeping.http.delete(place)).status_code == 404
    later = await ask(keeping, "more", previous_response_id=made["id"])
    assert (later.status_code, later.json()["error"]["code"]) == (400, "previous_response_not_found")
    await keeping.decision(made["routing"]["id"])


@pytest.mark.parametrize(("settings", "fields"), [({}, {}), ({"store_prompts": True}, {"store": False})])
async def test_what_is_not_to_be_kept_is_not(world: World, settings: Any, fields: Any) -> None:
    async with world.serve(**settings) as api:
        made = await answered(api, **fields)
        found = await api.http.get(f"/v1/responses/{made['id']}")
        assert (found.status_code, found.json()["error"]["code"]) == (404, "response_not_found")
        later = await ask(api, "more", previous_response_id=made["id"])
        error = later.json()["error"]
        assert (later.status_code, error["code"]) == (400, "previous_response_not_found")
        assert error["param"] == "previous_response_id"
        assert ("COTERIE_STORE_PROMPTS" in error["message"]) == (not settings)


async def test_what_was_kept_is_not_found_once_prompts_are_not_kept(world: World) -> None:
    async with world.serve(store_prompts=True) as api:
        made = await answered(api)
    async with world.serve() as api:
        assert (await api.http.get(f"/v1/responses/{made['id']}")).status_code == 404
        refused = await ask(api, previous_response_id=made["id"])
        assert refused.json()["error"]["code"] == "previous_response_not_found"
        assert (await api.http.delete(f"/v1/responses/{made['id']}")).status_code == 200


async def test_the_items_of_a_response_are_listed_without_a_turn_that_was_deleted(keeping: Api) -> None:
    first = await answered(keeping, CODE)
    second = await answered(keeping, "And sorted?", previous_response_id=first["id"])
    await keeping.http.delete(f"/v1/responses/{first['id']}")
    listed = await keeping.http.get(f"/v1/responses/{second['id']}/input_items")
    assert [item["content"][0]["text"] for item in listed.json()["data"]] == ["And sorted?"]


async def test_a_caller_finds_its_own_responses_only(world: World) -> None:
    async with world.serve(store_prompts=True, api_keys="one:k1,two:k2") as api:
        mine, other = ({"authorization": f"Bearer {key}"} for key in ("k1", "k2"))
        body = {"model": "coterie", "input": TALK}
        made = (await api.http.post("/v1/responses", json=body, headers=mine)).json()
        place = f"/v1/responses/{made['id']}"
        for request in (
            api.http.get(place, headers=other),
            api.http.get(f"{place}/input_items", headers=other),
            api.http.delete(place, headers=other),
        ):
            assert (await request).status_code == 404
        later = {**body, "previous_response_id": made["id"]}
        assert (await api.http.post("/v1/responses", json=later, headers=other)).status_code == 400
        assert (await api.http.post("/v1/responses", json=later, headers=mine)).status_code == 200
        assert (await api.http.get(place, headers=mine)).json() == made


async def test_what_is_not_there_is_refused_in_so_many_words(keeping: Api) -> None:
    made = await answered(keeping)
    cancelled = await keeping.http.post(f"/v1/responses/{made['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["error"]["code"]) == (400, "unsupported_operation")
    streamed = await keeping.http.get(f"/v1/responses/{made['id']}", params={"stream": "true"})
    assert (streamed.status_code, streamed.json()["error"]["param"]) == (400, "stream")


async def test_tokens_are_counted_of_the_whole_conversation(keeping: Api) -> None:
    async def count(**fields: Any) -> int:
        response = await keeping.http.post("/v1/responses/input_tokens", json={"model": "coterie", **fields})
        assert response.status_code == 200, response.text
        assert problems(InputTokenCountResponse, response.json()) == []
        return int(response.json()["input_tokens"])

    made = await answered(keeping, TALK)
    alone = await count(input="Go on.")
    assert 0 < alone < await count(input="Go on.", previous_response_id=made["id"])
    assert await count(instructions="Be brief.") > 0
    # What nobody could answer is counted all the same: clients ask before they shorten.
    assert await count(input=TALK * 2000) > 4000


async def test_a_response_that_failed_is_not_kept(keeping: Api) -> None:
    response = await ask(keeping, fake={"die_after": 3}, stream=True)
    last = events_of(response.text)[-1]["response"]
    assert last["status"] == "failed"
    assert (await keeping.http.get(f"/v1/responses/{last['id']}")).status_code == 404


async def test_the_openai_client_goes_on_from_a_tool_call(keeping: Api) -> None:
    asked: Any = CODE
    tools: Any = [TOOL]
    async with keeping.openai() as client:
        response = await client.responses.create(model="coterie", input=asked, tools=tools)
        (call,) = (item for item in response.output if item.type == "function_call")
        output: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "fine"}]
        async with client.responses.stream(
            model="coterie", input=output, tools=tools, previous_response_id=response.id
        ) as stream:
            last = await stream.get_final_response()
        assert last.output_text.startswith("coder heard")
        assert (await client.responses.retrieve(last.id)).output_text == last.output_text
        items = [item async for item in client.responses.input_items.list(last.id, limit=1)]
        assert [item.type for item in items] == ["function_call_output", "function_call", "message"]
        with pytest.raises(BadRequestError, match="no response"):
            await client.responses.create(model="coterie", input="hi", previous_response_id="resp_0")


async def test_a_server_that_speaks_the_dialect_is_asked_in_it(world: World) -> None:
    fields = {"dialects": ["responses"], "system_prompt": "The operator's."}
    async with world.serve(store_prompts=True, expert_fields=fields) as api:
        first = await answered(api, CODE, instructions="Be brief.")
        streamed = await ask(api, "And sorted?", previous_response_id=first["id"], stream=True)
        events = events_of(streamed.text)
        for number, event in enumerate(events):
            assert problems(ResponseStreamEvent, event) == []
            assert event["sequence_number"] == number
        last = events[-1]["response"]
        assert events[0]["response"]["routing"]["expert"] == last["model"] == "coder"
        assert (first["instructions"], last["instructions"]) == ("Be brief.", None)
        assert last["previous_response_id"] == first["id"]
        assert (await api.http.get(f"/v1/responses/{last['id']}")).json() == last
        one, two = api.fakes["coder"].log.bodies
        assert one["instructions"] == "The operator's.\n\nBe brief."
        assert [body["store"] for body in (one, two)] == [False, False]
        assert "previous_response_id" not in two
        assert [item["role"] for item in two["input"]] == ["user", "assistant", "user"]
        decision = await api.decision(last["routing"]["id"])
        assert decision["usage"]["completion_tokens"] == last["usage"]["output_tokens"]


async def test_what_only_such_a_server_can_be_asked_goes_to_it(world: World) -> None:
    search = {"type": "file_search", "vector_store_ids": ["vs_1"]}
    async with world.serve(expert_fields={"dialects": ["responses"], "capabilities": ["tools"]}) as api:
        items = [{"role": "user", "content": TALK}, {"type": "web_search_call", "id": "ws_1"}]
        made = await answered(api, items, tools=[search], tool_choice={"type": "file_search"})
        sent = api.fakes[made["model"]].log.last
        assert (sent["input"], sent["tools"]) == (items, [search])
        asked = sum(len(fake.log.bodies) for fake in api.fakes.values())
        rejected = await ask(api, tools=[search], fake={"status": 400})
        assert rejected.status_code == 400
        # Not a second time as a chat, which could not say it.
        assert sum(len(fake.log.bodies) for fake in api.fakes.values()) == asked + 1
        refused = await ask(api, tools=[search], routing={"strategy": "panel"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tools[0]")


async def test_a_native_stream_that_breaks_fails_the_response(world: World) -> None:
    async with world.serve(expert_fields={"dialects": ["responses"]}) as api:
        response = await ask(api, fake={"die_after": 5}, stream=True)
        events = events_of(response.text)
        assert [problems(ResponseStreamEvent, event) for event in events] == [[]] * len(events)
        assert events[-1]["type"] == "response.failed"
