"""Chat completions: https://platform.openai.com/docs/api-reference/chat"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from openai.types.chat import ChatCompletion

from tests.contracts.chat_streams import chat_problems
from tests.contracts.contract import SCHEMA, TOOL_ABOUT, TOOL_NAME, TOOL_SCHEMA, Case, Contract, ParsedAnswer
from tests.contracts.errors import openai_error_problems
from tests.contracts.sse import DONE, Event, is_object
from tests.contracts.validation import problems

TOOL = {
    "type": "function",
    "function": {"name": TOOL_NAME, "description": TOOL_ABOUT, "parameters": TOOL_SCHEMA, "strict": True},
}


def body(case: Case) -> dict[str, Any]:
    out: dict[str, Any] = {"model": "coterie", "messages": [{"role": "user", "content": case.question}]}
    if case.usage:
        out["stream_options"] = {"include_usage": True}
    if case.tools is not None:
        named = {"type": "function", "function": {"name": TOOL_NAME}}
        out |= {"tools": [TOOL], "tool_choice": named if case.tools == "named" else case.tools}
    if case.n > 1:
        out["n"] = case.n
    if case.logprobs:
        out |= {"logprobs": True, "top_logprobs": 0}
    if case.schema:
        schema = {"name": "answer", "schema": SCHEMA, "strict": True}
        out["response_format"] = {"type": "json_schema", "json_schema": schema}
    if case.max_tokens is not None:
        out["max_tokens"] = case.max_tokens
    return out


def whole(case: Case, document: dict[str, Any]) -> list[str]:
    found = problems(ChatCompletion, document)
    if found:
        return found
    if "routing" not in document:
        found.append("no routing")
    choices = document["choices"]
    if [each["index"] for each in choices] != list(range(case.n)):
        found.append(f"{len(choices)} choices, asked for {case.n}")
    for each in choices:
        calls = each["message"].get("tool_calls")
        if calls == [] or bool(calls) != (each["finish_reason"] == "tool_calls"):
            found.append(f"tool calls {calls}, and the finish reason {each['finish_reason']}")
        found += [
            f"arguments are no JSON: {call}"
            for call in calls or []
            if not is_object(call["function"]["arguments"])
        ]
        tokens = (each.get("logprobs") or {}).get("content")
        if bool(tokens) != case.logprobs:
            found.append(f"log-probabilities {tokens}, asked for: {case.logprobs}")
    return found + usage_problems(document.get("usage"))


def usage_problems(usage: Mapping[str, Any] | None) -> list[str]:
    if usage is None:
        return ["no usage"]
    adds_up = usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    return [] if adds_up else [f"{usage} does not add up"]


def stream(case: Case, events: Sequence[Event]) -> list[str]:
    return chat_problems(events, usage=case.usage, n=case.n, logprobs=case.logprobs)


def failed_stream(events: Sequence[Event]) -> list[str]:
    return chat_problems(events, failed=True)


def parse_whole(document: dict[str, Any]) -> ParsedAnswer:
    choices = document["choices"]
    calls = [call["function"] for call in choices[0]["message"].get("tool_calls") or []]
    return ParsedAnswer(
        tuple(each["message"]["content"] or "" for each in choices),
        tuple((call["name"], json.loads(call["arguments"])) for call in calls),
        choices[0]["finish_reason"],
        usage_of(document),
    )


def usage_of(document: Mapping[str, Any]) -> tuple[int, int] | None:
    usage = document.get("usage")
    return usage and (usage["prompt_tokens"], usage["completion_tokens"])


def parse_stream(events: Sequence[Event]) -> ParsedAnswer:
    texts: dict[int, str] = {}
    calls: dict[int, list[str]] = {}
    finish = usage = None
    for event in events:
        if event.data == DONE:
            break
        usage = usage_of(event.data) or usage
        for choice in event.data["choices"]:
            index, delta = choice["index"], choice["delta"]
            texts[index] = texts.get(index, "") + (delta.get("content") or "")
            finish = choice["finish_reason"] or finish
            for call in (delta.get("tool_calls") or []) if index == 0 else []:
                known = calls.setdefault(call["index"], ["", ""])
                known[0] += call["function"].get("name") or ""
                known[1] += call["function"].get("arguments") or ""
    called = tuple((name, json.loads(arguments)) for name, arguments in calls.values())
    return ParsedAnswer(tuple(texts.values()), called, finish, usage)


CONTRACT = Contract(
    "/v1/chat/completions",
    body,
    whole,
    stream,
    failed_stream,
    openai_error_problems,
    parse_whole,
    parse_stream,
)
