"""A value of a wrong type, wherever it stands in a request of any dialect, is refused or translated."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from app.dialects.chat_completions import CHAT
from app.dialects.completions import COMPLETIONS
from app.dialects.dialect import Dialect
from app.dialects.messages import MESSAGES, without_unsigned_thinking
from app.dialects.messages_body import TokenCountBody
from app.dialects.responses import responses_dialect
from app.dialects.responses_stored import listed_items, references
from app.errors import ServiceError
from app.serving.chat_body import ChatBody, ChatRequest
from app.serving.provider_state import without_foreign_state

Document = dict[str, Any]

ODD: tuple[Any, ...] = (
    *(None, True, -1, 1.5, "", "x", [], {}, [5], [None], ["x"], [[]], [{}]),
    *({"type": 5}, {"type": []}, {"type": "x"}, {"None": {}}),
)
IMAGE = "data:image/png;base64,AA=="
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FUNCTION = {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
RESPONSES: Document = {
    "instructions": "Be brief.",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "hi"},
                {"type": "input_image", "image_url": IMAGE, "detail": "low"},
                {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGk="},
                {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "t"}],
            "content": [{"type": "reasoning_text", "text": "t"}],
            "encrypted_content": "sealed",
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "no"}],
        },
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}", "namespace": "n"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "z"}]},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "o"},
    ],
    "tools": [
        FUNCTION,
        {"type": "custom", "name": "g", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
        {"type": "namespace", "name": "n", "tools": [FUNCTION]},
        {"type": "web_search"},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}, "verbosity": "low"},
    "reasoning": {"effort": "low"},
    "include": ["reasoning.encrypted_content"],
    "truncation": "auto",
}
MESSAGES_REQUEST: Document = {
    "model": "coterie",
    "max_tokens": 9,
    "system": [{"type": "text", "text": "s"}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hi"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
                {
                    "type": "document",
                    "title": "t",
                    "source": {"type": "content", "content": [{"type": "text", "text": "x"}]},
                },
                {
                    "type": "search_result",
                    "title": "t",
                    "source": "s",
                    "content": [{"type": "text", "text": "y"}],
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": "b"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "is_error": False,
                    "content": [{"type": "text", "text": "r"}],
                }
            ],
        },
        {"role": "system", "content": [{"type": "text", "text": "s"}]},
    ],
    "tools": [{"name": "f", "input_schema": SCHEMA}, {"type": "bash_20250124", "name": "bash"}],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["x"],
}
CHAT_REQUEST: Document = {
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hi"},
                {"type": "input_image", "image_url": {"url": IMAGE}},
                {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
                {"type": "file", "file": {"filename": "a", "file_data": "data:text/plain;base64,aGk="}},
                {"type": "document", "source": {"type": "text", "data": "q"}},
            ],
        },
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "x"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            "thinking_blocks": [{"type": "thinking", "thinking": "a", "signature": "s"}],
        },
    ],
    "functions": [{"name": "f", "parameters": SCHEMA}],
    "function_call": {"name": "f"},
    "response_format": {"type": "json_object"},
}
COMPLETION: Document = {"prompt": ["a"], "max_tokens": 5, "logprobs": 2, "echo": True, "best_of": 2}
RESPONSES_DIALECT = responses_dialect("resp_1")
REQUESTS: Mapping[str, tuple[Dialect, type[BaseModel], Document]] = {
    "chat": (CHAT, CHAT.body, CHAT_REQUEST),
    "responses": (RESPONSES_DIALECT, RESPONSES_DIALECT.body, RESPONSES),
    "messages": (MESSAGES, MESSAGES.body, MESSAGES_REQUEST),
    "count_tokens": (MESSAGES, TokenCountBody, MESSAGES_REQUEST),
    "completions": (COMPLETIONS, COMPLETIONS.body, COMPLETION),
}


def changed(document: Document, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, Document]]:
    """Every document with one value in the place of another, and where."""
    value: Any = document
    for step in place:
        value = value[step]
    if place:
        for odd in ODD:
            made = copy.deepcopy(document)
            holder: Any = made
            for step in place[:-1]:
                holder = holder[step]
            holder[place[-1]] = odd
            yield (place, odd), made
    for step in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from changed(document, (*place, step))


def translated(dialect: Dialect, body: type[BaseModel], document: Document) -> None:
    """What is done with a request before an expert is asked."""
    body.model_validate(document)
    chat = dialect.to_chat(document).chat
    request = ChatRequest(ChatBody.model_validate(chat), chat, native=document)
    if body is dialect.body:
        dialect.presenter(request)
        dialect.native(request)
    without_foreign_state(document, lambda state: False)
    if dialect.name == "messages":
        without_unsigned_thinking(document)
    if dialect.name == "responses":
        references(document["input"])
        listed_items(document["input"], "resp_1")


@pytest.mark.parametrize("name", REQUESTS)
def test_a_value_of_a_wrong_type_never_breaks_a_translation(name: str) -> None:
    dialect, body, document = REQUESTS[name]
    translated(dialect, body, document)
    broken = []
    for where, odd in changed(document):
        try:
            translated(dialect, body, odd)
        except (ServiceError, ValidationError):
            continue
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            broken.append((where, repr(error)))
    assert broken == []
