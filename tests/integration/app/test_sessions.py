"""Conversations without a name, over real sockets: a tool call's result goes to who made the call."""

import json
from typing import Any

import pytest

from tests.integration.app.world import CODE, TALK, UNCLEAR, Api, World, events_of

TOOL = {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}}
TOOLS = [{"type": "function", "function": TOOL}]
DIALECTS = ("chat", "responses", "messages")


@pytest.fixture
def world(world: World) -> World:
    """Everybody can call tools, in every dialect but one."""
    for name in world.fakes:
        world.own[name] = {"capabilities": ["tools"]}
    world.own["backup"] = {"capabilities": ["tools"], "dialects": ["responses", "messages"]}
    return world


class Agent:
    """A client that keeps its history and names no conversation."""

    def __init__(self, api: Api, dialect: str, stream: bool) -> None:
        self.api, self.dialect, self.stream = api, dialect, stream
        self.history: list[dict[str, Any]] = []

    async def ask(self, model: str = "coterie", **fields: Any) -> dict[str, Any]:
        """Send the history; keep the answer in it; returns its routing."""
        path, body = self._request()
        sent = {"model": model, "stream": self.stream, **body, **fields}
        response = await self.api.http.post(path, json=sent)
        assert response.status_code == 200, response.text
        events = events_of(response.text) if self.stream else [response.json()]
        self._keep(events)
        return await self.api.decision(response.headers["x-coterie-decision"])

    def _request(self) -> tuple[str, dict[str, Any]]:
        if self.dialect == "chat":
            return "/v1/chat/completions", {"messages": self.history, "tools": TOOLS}
        if self.dialect == "responses":
            tools = [{"type": "function", **TOOL}]
            return "/v1/responses", {"input": self.history, "tools": tools, "store": False}
        tools = [{"name": TOOL["name"], "input_schema": TOOL["parameters"]}]
        return "/v1/messages", {"messages": self.history, "tools": tools, "max_tokens": 100}

    def say(self, text: str) -> None:
        self.history.append({"role": "user", "content": text})

    def result(self, text: str = "done") -> None:
        """The result of the last call."""
        last = self.history[-1]
        if self.dialect == "chat":
            call_id = last["tool_calls"][0]["id"]
            self.history.append({"role": "tool", "tool_call_id": call_id, "content": text})
        elif self.dialect == "responses":
            output = {"type": "function_call_output", "call_id": last["call_id"], "output": text}
            self.history.append(output)
        else:
            used = next(block for block in last["content"] if block["type"] == "tool_use")
            block = {"type": "tool_result", "tool_use_id": used["id"], "content": text}
            self.history.append({"role": "user", "content": [block]})

    def _keep(self, events: list[Any]) -> None:
        if self.dialect == "responses":
            whole = events[-1]["response"] if self.stream else events[0]
            if whole == "[DONE]":
                whole = events[-2]["response"]
            self.history += [item for item in whole["output"] if item["type"] != "reasoning"]
        elif self.dialect == "messages":
            content = _blocks(events) if self.stream else events[0]["content"]
            self.history.append({"role": "assistant", "content": content})
        else:
            message = _message(events) if self.stream else events[0]["choices"][0]["message"]
            self.history.append(message)


def _message(events: list[Any]) -> dict[str, Any]:
    deltas = [choice["delta"] for event in events if event != "[DONE]" for choice in event.get("choices", ())]
    text = "".join(delta.get("content") or "" for delta in deltas)
    parts = [part for delta in deltas for part in delta.get("tool_calls") or ()]
    if not parts:
        return {"role": "assistant", "content": text}
    name = next(p["function"]["name"] for p in parts if p["function"].get("name"))
    arguments = "".join(p["function"].get("arguments") or "" for p in parts)
    call_id = next(p["id"] for p in parts if p.get("id"))
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": text or None, "tool_calls": [call]}


def _blocks(events: list[Any]) -> list[dict[str, Any]]:
    blocks: dict[int, dict[str, Any]] = {}
    for event in events:
        if event["type"] == "content_block_start":
            blocks[event["index"]] = dict(event["content_block"])
        elif event["type"] == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            if delta["type"] == "text_delta":
                block["text"] += delta["text"]
            elif delta["type"] == "input_json_delta":
                block["input"] = {}
    return list(blocks.values())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("maker", ["talker", "backup"])
async def test_a_result_goes_to_the_expert_that_called(
    world: World, dialect: str, stream: bool, maker: str
) -> None:
    """Whatever the category, an explored draw or a strategy would say; `backup` speaks the dialect itself."""
    async with world.serve(explore=1.0, strategy="panel") as api:
        agent = Agent(api, dialect, stream)
        agent.say(UNCLEAR)
        assert (await agent.ask(model=maker))["reason"] == "pinned"
        agent.result()
        routing = await agent.ask()
        assert (routing["expert"], routing["reason"], routing["strategy"]) == (maker, "held", "single")
        # The call is closed: the conversation goes on by the usual rule.
        agent.say(UNCLEAR)
        routing = await agent.ask(tool_choice="none" if dialect != "messages" else {"type": "none"})
        assert routing["reason"] == "sticky"


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_result_finds_its_expert_at_another_worker_and_after_a_restart(
    world: World, dialect: str
) -> None:
    async with world.serve() as one, world.serve() as other:
        agent = Agent(one, dialect, stream=False)
        agent.say(CODE)
        await agent.ask(model="talker")
        agent.api = other
        agent.result()
        assert (await agent.ask())["reason"] == "held"
    agent.history = agent.history[:-1]
    async with world.serve() as again:
        agent.api = again
        routing = await agent.ask()
        assert (routing["expert"], routing["reason"]) == ("talker", "held")


async def test_an_open_call_is_refused_rather_than_passed_on(world: World) -> None:
    async with world.serve() as api:
        agent = Agent(api, "chat", stream=False)
        agent.say(CODE)
        await agent.ask(model="talker")
        agent.result()
        body = {"model": "coterie", "messages": agent.history, "tools": TOOLS}
        for fake, status in (({"status": 503}, 503), ({"status": 500}, 503)):
            started = {name: each.log.started for name, each in api.fakes.items()}
            down = await api.http.post("/v1/chat/completions", json={**body, "fake": fake})
            assert down.status_code == status
            assert down.headers["x-coterie-reason"] == "held"
            assert "tool call of talker is open" in down.json()["error"]["message"]
            asked = [name for name, each in api.fakes.items() if each.log.started > started[name]]
            assert asked == ["talker"]
        agent.history[-1]["content"] = "word " * 20_000
        long = await api.http.post("/v1/chat/completions", json=body)
        assert (long.status_code, long.json()["error"]["code"]) == (400, "context_length_exceeded")
        assert "tool call of talker is open" in long.json()["error"]["message"]
        agent.history[-1]["content"] = "done"
        pinned = await api.http.post("/v1/chat/completions", json={**body, "model": "coder"})
        assert pinned.headers["x-coterie-reason"] == "pinned"


async def test_two_keys_do_not_share_a_conversation(world: World) -> None:
    async with world.serve(api_keys="a:key-a,b:key-b") as api:
        body: dict[str, Any] = {"messages": [{"role": "user", "content": CODE}], "tools": TOOLS}
        experts = {}
        for key, model in (("a", "talker"), ("b", "backup")):
            headers = {"authorization": f"Bearer key-{key}"}
            first = await api.http.post(
                "/v1/chat/completions", json={**body, "model": model}, headers=headers
            )
            answer = first.json()["choices"][0]["message"]
            call_id = answer["tool_calls"][0]["id"]
            experts[key] = [answer, {"role": "tool", "tool_call_id": call_id, "content": "done"}]
        for key, model in (("a", "talker"), ("b", "backup")):
            headers = {"authorization": f"Bearer key-{key}"}
            going_on = {**body, "model": "coterie", "messages": [*body["messages"], *experts[key]]}
            routing = (await api.http.post("/v1/chat/completions", json=going_on, headers=headers)).json()
            assert routing["routing"]["expert"] == model


async def test_a_conversation_without_a_name_stays_until_it_is_idle(world: World) -> None:
    for idle_s, expected in ((3_600.0, ("coder", "sticky")), (0.001, ("backup", "uncertain"))):
        async with world.serve(conversation_idle_s=idle_s) as api:
            first = (await api.chat(UNCLEAR, model="coder")).json()
            messages = [
                {"role": "user", "content": UNCLEAR},
                first["choices"][0]["message"],
                {"role": "user", "content": UNCLEAR},
            ]
            response = await api.http.post(
                "/v1/chat/completions", json={"model": "coterie", "messages": messages}
            )
            routing = response.json()["routing"]
            assert (routing["expert"], routing["reason"]) == expected


async def test_harness_text_does_not_change_the_subject(api: Api) -> None:
    reminder = f"<system-reminder>\n{TALK}\n</system-reminder>"
    messages = [{"role": "user", "content": CODE}, {"role": "user", "content": reminder}]
    response = await api.http.post("/v1/route", json={"model": "coterie", "messages": messages})
    assert response.json()["category"] == "coding"


async def test_provider_state_goes_to_its_maker_and_to_nobody_else(world: World) -> None:
    signed = {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"}
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "Z2Vo"}
    async with world.serve() as api:
        for path, body in (
            (
                "/v1/messages",
                {
                    "max_tokens": 20,
                    "messages": [
                        {"role": "user", "content": TALK},
                        {"role": "assistant", "content": [signed, {"type": "text", "text": "Hello."}]},
                        {"role": "user", "content": CODE},
                    ],
                },
            ),
            (
                "/v1/responses",
                {
                    "store": False,
                    "input": [
                        {"role": "user", "content": TALK},
                        reasoning,
                        {"role": "assistant", "content": "Hello."},
                        {"role": "user", "content": CODE},
                    ],
                },
            ),
        ):
            for model, reaches in (("backup", True), ("coterie", False)):
                for each in api.fakes.values():
                    each.log.bodies.clear()
                response = await api.http.post(path, json={"model": model, **body})
                assert response.status_code == 200, response.text
                sent = json.dumps([log for each in api.fakes.values() for log in each.log.bodies])
                assert ("c2lnbmVk" in sent or "Z2Vo" in sent) is reaches
