"""Whatever stands in a field of a request, the answer is the dialect's own: right, or an error of the
client's."""

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from anthropic.types import Message
from openai.types import Completion
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from tests.contracts.contract import CASES
from tests.contracts.contract_world import Service
from tests.contracts.test_contracts import CONTRACTS
from tests.contracts.validation import problems

JUNK: tuple[Any, ...] = (None, -1, True, "x\ud800", [], [{}])
FORWARDED = {"n", "required"}
"""What stands in these is for an expert's server to refuse, and the fake expert's does not; of a chat, tools
are too."""
WHOLE: Mapping[str, Any] = {
    "chat": ChatCompletion,
    "completions": Completion,
    "messages": Message,
    "responses": Response,
}
FULL: Mapping[str, Mapping[str, Any]] = {
    "chat": {"store": True, "metadata": {"a": "b"}, "stop": ["x"], "user": "u", "temperature": 1},
    "completions": {"echo": True, "stop": ["x"], "user": "u", "temperature": 1},
    "messages": {
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "python"}]},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "a", "name": "look_up", "input": {}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "found"}]},
        ],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "stop_sequences": ["x"],
        "metadata": {"user_id": "u"},
    },
    "responses": {
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "python"}]},
            {"type": "function_call", "call_id": "a", "name": "look_up", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "found"},
        ],
        "reasoning": {"effort": "low"},
        "metadata": {"a": "b"},
    },
}
"""Further fields of each dialect."""


def places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The ways to everything in a document."""
    yield at
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield from places(inner, (*at, step))


def changed(document: dict[str, Any], at: tuple[str | int, ...], junk: Any) -> Any:
    if not at:
        return junk
    out: Any = copy.deepcopy(document)
    place = out
    for step in at[:-1]:
        place = place[step]
    place[at[-1]] = junk
    return out


def bodies(dialect: str) -> list[dict[str, Any]]:
    contract = CONTRACTS[dialect]
    said = [contract.body(CASES[name]) for name in ("tool choice named", "json schema", "n", "plain")]
    known = [body for body in said if body is not None]
    return [*known[1:2], {**known[0], **FULL[dialect]}]


@pytest.mark.parametrize("dialect", CONTRACTS)
def test_a_field_may_hold_anything(odd: Service, dialect: str) -> None:
    contract, seen, wrong = CONTRACTS[dialect], set(), []
    for body in bodies(dialect):
        for at in places(body):
            if (FORWARDED | ({"tools"} if dialect == "chat" else set())) & set(at):
                continue
            for junk in JUNK:
                sent = json.dumps(changed(body, at, junk))
                if sent in seen:
                    continue
                seen.add(sent)
                response = odd.http.post(
                    contract.path, content=sent.encode(), headers={"content-type": "application/json"}
                )
                if response.status_code >= 500:
                    wrong.append((at, junk, response.text))
                elif response.status_code >= 400:
                    wrong += [(at, junk, each) for each in contract.error(response.json())]
                elif "text/event-stream" not in response.headers["content-type"]:
                    wrong += [(at, junk, each) for each in problems(WHOLE[dialect], response.json())]
    assert wrong == []
