"""Anthropic's messages: https://docs.anthropic.com/en/api/messages"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from anthropic.types import Message

from tests.contracts.contract import SCHEMA, TOOL_ABOUT, TOOL_NAME, TOOL_SCHEMA, Case, Contract, ParsedAnswer
from tests.contracts.errors import anthropic_error_problems
from tests.contracts.messages_streams import messages_problems
from tests.contracts.sse import Event
from tests.contracts.validation import problems

TOOL = {"name": TOOL_NAME, "description": TOOL_ABOUT, "input_schema": TOOL_SCHEMA}
CHOICES = {"auto": "auto", "none": "none", "required": "any"}
FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def body(case: Case) -> dict[str, Any] | None:
    if case.n > 1 or case.logprobs:
        return None
    out: dict[str, Any] = {
        "model": "coterie",
        "max_tokens": case.max_tokens or 1000,
        "messages": [{"role": "user", "content": case.question}],
    }
    if case.tools == "named":
        out |= {"tools": [TOOL], "tool_choice": {"type": "tool", "name": TOOL_NAME}}
    elif case.tools is not None:
        out |= {"tools": [TOOL], "tool_choice": {"type": CHOICES[case.tools]}}
    if case.schema:
        out["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
    return out


def whole(case: Case, document: dict[str, Any]) -> list[str]:
    found = problems(Message, document)
    if found:
        return found
    if "routing" not in document:
        found.append("no routing")
    used = any(block["type"] == "tool_use" for block in document["content"])
    if used != (document["stop_reason"] == "tool_use") or document["stop_reason"] is None:
        found.append(f"stop_reason {document['stop_reason']}, and a tool call: {used}")
    return found


def stream(case: Case, events: Sequence[Event]) -> list[str]:
    return messages_problems(events)


def failed_stream(events: Sequence[Event]) -> list[str]:
    return messages_problems(events, failed=True)


def parse_whole(document: Mapping[str, Any]) -> ParsedAnswer:
    blocks = document["content"]
    return ParsedAnswer(
        tuple(each["text"] for each in blocks if each["type"] == "text") or ("",),
        tuple((each["name"], each["input"]) for each in blocks if each["type"] == "tool_use"),
        FINISHES[document["stop_reason"]],
        (document["usage"]["input_tokens"], document["usage"]["output_tokens"]),
    )


def parse_stream(events: Sequence[Event]) -> ParsedAnswer:
    """As the API says to put a message together."""
    message: dict[str, Any] = {}
    inputs: dict[int, str] = {}
    for event in events:
        data = event.data
        match data["type"]:
            case "message_start":
                message = {**data["message"], "content": []}
            case "content_block_start":
                message["content"].append(dict(data["content_block"]))
            case "content_block_delta":
                delta, block = data["delta"], message["content"][data["index"]]
                if delta["type"] == "text_delta":
                    block["text"] += delta["text"]
                elif delta["type"] == "input_json_delta":
                    inputs[data["index"]] = inputs.get(data["index"], "") + delta["partial_json"]
            case "message_delta":
                told = {name: count for name, count in data["usage"].items() if count is not None}
                message |= data["delta"] | {"usage": message["usage"] | told}
    for index, text in inputs.items():
        message["content"][index]["input"] = json.loads(text or "{}")
    return parse_whole(message)


CONTRACT = Contract(
    "/v1/messages", body, whole, stream, failed_stream, anthropic_error_problems, parse_whole, parse_stream
)
