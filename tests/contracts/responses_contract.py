"""OpenAI's responses: https://platform.openai.com/docs/api-reference/responses"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from openai.types.responses import Response

from tests.contracts.contract import SCHEMA, TOOL_ABOUT, TOOL_NAME, TOOL_SCHEMA, Case, Contract, ParsedAnswer
from tests.contracts.errors import openai_error_problems
from tests.contracts.responses_streams import responses_problems
from tests.contracts.sse import Event, is_object
from tests.contracts.validation import problems

TOOL = {
    "type": "function",
    "name": TOOL_NAME,
    "description": TOOL_ABOUT,
    "parameters": TOOL_SCHEMA,
    "strict": True,
}


def body(case: Case) -> dict[str, Any] | None:
    if case.n > 1:
        return None
    out: dict[str, Any] = {"model": "coterie", "input": case.question}
    if case.tools is not None:
        named = {"type": "function", "name": TOOL_NAME}
        out |= {"tools": [TOOL], "tool_choice": named if case.tools == "named" else case.tools}
    if case.logprobs:
        out["include"] = ["message.output_text.logprobs"]
    if case.schema:
        schema = {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}
        out["text"] = {"format": schema}
    if case.max_tokens is not None:
        out["max_output_tokens"] = case.max_tokens
    return out


def whole(case: Case, document: dict[str, Any]) -> list[str]:
    found = problems(Response, document)
    if found:
        return found
    if "routing" not in document:
        found.append("no routing")
    incomplete = document.get("incomplete_details")
    if (document["status"] == "incomplete") != (incomplete is not None):
        found.append(f"status {document['status']}, and incomplete_details {incomplete}")
    for item in document["output"]:
        if item["type"] == "function_call" and not is_object(item["arguments"]):
            found.append(f"arguments are no JSON: {item['arguments']}")
        for part in item.get("content") or []:
            if bool(part.get("logprobs")) != case.logprobs:
                found.append(f"log-probabilities {part.get('logprobs')}, asked for: {case.logprobs}")
    if (usage := document.get("usage")) is None:
        found.append("no usage")
    elif usage["total_tokens"] != usage["input_tokens"] + usage["output_tokens"]:
        found.append(f"{usage} does not add up")
    return found


def stream(case: Case, events: Sequence[Event]) -> list[str]:
    found = responses_problems(events)
    return found or whole(case, {"routing": {}, **events[-1].data["response"]})


def failed_stream(events: Sequence[Event]) -> list[str]:
    return responses_problems(events, failed=True)


def parse_whole(document: Mapping[str, Any]) -> ParsedAnswer:
    texts = [
        part["text"]
        for item in document["output"]
        if item["type"] == "message"
        for part in item["content"]
        if part["type"] == "output_text"
    ]
    calls = [item for item in document["output"] if item["type"] == "function_call"]
    finish = "tool_calls" if calls else "stop"
    if document["status"] == "incomplete":
        finish = {"max_output_tokens": "length", "content_filter": "content_filter"}[
            document["incomplete_details"]["reason"]
        ]
    usage = document.get("usage")
    return ParsedAnswer(
        tuple(texts) or ("",),
        tuple((call["name"], json.loads(call["arguments"])) for call in calls),
        finish,
        usage and (usage["input_tokens"], usage["output_tokens"]),
    )


def parse_stream(events: Sequence[Event]) -> ParsedAnswer:
    """Of the last event: that the others add up to it was checked."""
    return parse_whole(events[-1].data["response"])


CONTRACT = Contract(
    "/v1/responses", body, whole, stream, failed_stream, openai_error_problems, parse_whole, parse_stream
)
