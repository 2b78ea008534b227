"""Old clients' functions are tools for experts, and the answer is a function call again."""

from typing import Any

import pytest

from app.dialects.legacy_functions import with_function_call, with_tools

HI = {"role": "user", "content": "weather?"}
FORECAST = {"name": "forecast", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FORECAST}
CALLED = {"name": "forecast", "arguments": "{}"}


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"functions": [FORECAST]}, {"functions": [FORECAST], "tools": [TOOL]}),
        (
            {"functions": [FORECAST], "function_call": "auto"},
            {"functions": [FORECAST], "function_call": "auto", "tools": [TOOL], "tool_choice": "auto"},
        ),
        (
            {"functions": [FORECAST], "function_call": {"name": "forecast"}},
            {
                "functions": [FORECAST],
                "function_call": {"name": "forecast"},
                "tools": [TOOL],
                "tool_choice": {"type": "function", "function": {"name": "forecast"}},
            },
        ),
        ({"functions": [FORECAST], "tools": [TOOL]}, {"tools": [TOOL]}),
        ({"functions": None}, {}),
    ],
)
def test_functions_are_tools(fields: dict[str, Any], found: dict[str, Any]) -> None:
    assert with_tools({"messages": [HI], **fields}) == {"messages": [HI], **found}


def test_a_request_without_functions_stays_itself() -> None:
    document = {"messages": [HI, {"role": "assistant", "content": "x", "tool_calls": []}], "tools": [TOOL]}
    assert with_tools(document) is document
    assert with_tools({"messages": "hi"}) == {"messages": "hi"}


def test_each_result_names_its_call() -> None:
    messages = [
        HI,
        {"role": "assistant", "content": None, "function_call": CALLED},
        {"role": "function", "name": "forecast", "content": "rain"},
        {"role": "assistant", "content": "Rain.", "function_call": None},
        HI,
        {"role": "assistant", "function_call": CALLED},
        {"role": "function", "name": "forecast", "content": "sun"},
    ]
    found = with_tools({"messages": messages})["messages"]
    ids = [call["id"] for each in found for call in each.get("tool_calls", ())]
    assert len(set(ids)) == 2
    assert [each["tool_call_id"] for each in found if each["role"] == "tool"] == ids
    assert all("function_call" not in each and each["role"] != "function" for each in found)
    assert found[1]["tool_calls"][0]["function"] == CALLED
    assert found[3] == {"role": "assistant", "content": "Rain."}


def test_the_first_call_of_an_answer_is_the_function_call() -> None:
    calls = [{"id": "a", "type": "function", "function": CALLED}, {"id": "b", "function": {"name": "g"}}]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    answer = {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    assert with_function_call(answer, "message")["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": None, "function_call": CALLED},
            "finish_reason": "function_call",
        }
    ]


@pytest.mark.parametrize(
    ("delta", "found"),
    [
        ({"tool_calls": [{"index": 0, "id": "a", "function": CALLED}]}, {"function_call": CALLED}),
        (
            {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]},
            {"function_call": {"arguments": "{"}},
        ),
        ({"tool_calls": [{"index": 1, "function": CALLED}]}, {}),
        ({"content": "x"}, {"content": "x"}),
    ],
)
def test_so_is_the_first_call_of_a_stream(delta: dict[str, Any], found: dict[str, Any]) -> None:
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    assert with_function_call(chunk, "delta")["choices"][0]["delta"] == found
