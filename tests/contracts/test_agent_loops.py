"""An agent with a tool takes ten steps through the service in each dialect, and one expert goes with it."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.contracts import chat_contract, messages_contract, responses_contract
from tests.contracts.contract import TOOL_NAME
from tests.contracts.contract_world import STEPS, Service

TASK = "Find the bug in this python function. [[steps]]"
FOUND = "hello there, thanks, lovely weather"
"""What the tool finds: by itself it would go to another expert."""


class Agent:
    """What an agent has seen: its calls' arguments, the experts that took its steps, and its last text."""

    def __init__(self) -> None:
        self.arguments: list[Any] = []
        self.experts: list[str] = []
        self.text = ""

    def look_up(self, name: str, arguments: Any) -> str:
        assert name == TOOL_NAME
        self.arguments.append(arguments)
        return f"{FOUND} {len(self.arguments)}"


def chat(service: Service, agent: Agent, *, stream: bool) -> None:
    """The whole conversation goes with every step, and no id of it."""
    messages: list[Any] = [{"role": "user", "content": TASK}]
    asked: dict[str, Any] = {"model": "coterie", "tools": [chat_contract.TOOL]}
    with OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as client:
        while not agent.text:
            if stream:
                with client.chat.completions.stream(messages=messages, **asked) as events:
                    answer: Any = events.get_final_completion()
            else:
                answer = client.chat.completions.create(messages=messages, **asked)
            agent.experts.append(answer.model)
            message = answer.choices[0].message
            messages.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
            agent.text = message.content or ""
            for call in message.tool_calls or ():
                found = agent.look_up(call.function.name, json.loads(call.function.arguments))
                messages.append({"role": "tool", "tool_call_id": call.id, "content": found})


def responses(service: Service, agent: Agent, *, stream: bool, stored: bool = False) -> None:
    """`stored`: the service keeps the conversation, and each step sends its results alone."""
    said: list[Any] = [{"role": "user", "content": TASK}]
    asked: dict[str, Any] = {"model": "coterie", "tools": [responses_contract.TOOL], "store": stored}
    with OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as client:
        while not agent.text:
            if stream:
                with client.responses.stream(input=said, **asked) as events:
                    for _ in events:
                        pass
                    response: Any = events.get_final_response()
            else:
                response = client.responses.create(input=said, **asked)
            agent.experts.append(response.model)
            agent.text = response.output_text
            results = [
                {
                    "type": "function_call_output",
                    "call_id": item.call_id,
                    "output": agent.look_up(item.name, json.loads(item.arguments)),
                }
                for item in response.output
                if item.type == "function_call"
            ]
            if stored:
                said, asked["previous_response_id"] = results, response.id
            else:
                kept = [item.model_dump(exclude_none=True) for item in response.output]
                said += [{k: v for k, v in item.items() if k != "parsed_arguments"} for item in kept]
                said += results


def stored_responses(service: Service, agent: Agent, *, stream: bool) -> None:
    responses(service, agent, stream=stream, stored=True)


def messages(service: Service, agent: Agent, *, stream: bool) -> None:
    said: list[Any] = [{"role": "user", "content": TASK}]
    asked: dict[str, Any] = {"model": "coterie", "max_tokens": 500, "tools": [messages_contract.TOOL]}
    with Anthropic(base_url=service.url, api_key="none", max_retries=0) as client:
        while not agent.text:
            if stream:
                with client.messages.stream(messages=said, **asked) as events:
                    message: Any = events.get_final_message()
            else:
                message = client.messages.create(messages=said, **asked)
            agent.experts.append(message.model)
            said.append(message.to_param())
            agent.text = "".join(block.text for block in message.content if block.type == "text")
            results = [
                {
                    "type": "tool_result",
                    "tool_use_id": block.id,
                    "content": agent.look_up(block.name, block.input),
                }
                for block in message.content
                if block.type == "tool_use"
            ]
            if results:
                said.append({"role": "user", "content": results})


Loop = Callable[..., None]
LOOPS: Mapping[str, Loop] = {
    "chat": chat,
    "responses": responses,
    "stored responses": stored_responses,
    "messages": messages,
}


@pytest.fixture(params=["translated", "native"])
def either(request: pytest.FixtureRequest) -> Iterator[Service]:
    """A service whose experts speak chat alone, and one whose experts speak every dialect."""
    yield request.getfixturevalue("service" if request.param == "translated" else "native")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_an_agent_keeps_its_expert_for_ten_steps(either: Service, loop: Loop, stream: bool) -> None:
    agent = Agent()
    loop(either, agent, stream=stream)
    assert agent.text == "All is done."
    assert len({json.dumps(each) for each in agent.arguments}) == STEPS
    assert agent.experts == ["coder"] * (STEPS + 1)
