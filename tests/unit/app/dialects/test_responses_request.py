"""A request of the Responses API says the same as a chat completion request, or is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dialects.responses import responses_dialect
from app.errors import ServiceError

Item = dict[str, Any]
FUNCTION = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": True}
LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}, "strict": True}}


def chat(**fields: Any) -> Item:
    translation = responses_dialect().to_chat({"model": "coterie", "input": "hi", **fields})
    if translation.native_only is not None:
        raise translation.native_only
    return dict(translation.chat)


def messages(*items: Any, **fields: Any) -> list[Item]:
    found: list[Item] = chat(input=list(items), **fields)["messages"]
    return found


def call(call_id: str, **fields: Any) -> Item:
    return {"type": "function_call", "call_id": call_id, "name": "look", "arguments": "{}", **fields}


def result(call_id: str, output: Any = "fine") -> Item:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def called(*ids: str, **fields: Any) -> Item:
    calls = [{"id": i, "type": "function", "function": {"name": "look", "arguments": "{}"}} for i in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls, **fields}


def thought(text: str, **fields: Any) -> Item:
    return {
        "type": "reasoning",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": text}],
        **fields,
    }


def said(text: str, role: str = "assistant", kind: str = "output_text") -> Item:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


USER = {"role": "user", "content": "hi"}
ASKED = said("hi", "user", "input_text")
SECRET = thought("", encrypted_content="c2VjcmV0")


def test_a_text_is_one_user_message_after_the_instructions() -> None:
    assert chat(instructions="Be brief.") == {
        "model": "coterie",
        "messages": [{"role": "system", "content": "Be brief."}, USER],
    }


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([{"role": "user", "content": "hi"}], [USER]),
        ([said("hi", "developer", "input_text")], [{"role": "developer", "content": "hi"}]),
        # One turn of the assistant is one message, whatever its items.
        (
            [ASKED, thought("hm"), said("I look."), call("a"), call("b"), result("a"), result("b")],
            [
                USER,
                {**called("a", "b"), "content": "I look.", "reasoning_content": "hm"},
                {"role": "tool", "tool_call_id": "a", "content": "fine"},
                {"role": "tool", "tool_call_id": "b", "content": "fine"},
            ],
        ),
        # Text after a call must not stand between the call and its output.
        (
            [call("a"), said("One moment."), result("a")],
            [
                {**called("a"), "content": "One moment."},
                {"role": "tool", "tool_call_id": "a", "content": "fine"},
            ],
        ),
        (
            [call("a"), result("a"), call("b"), result("b")],
            [
                called("a"),
                {"role": "tool", "tool_call_id": "a", "content": "fine"},
                called("b"),
                {"role": "tool", "tool_call_id": "b", "content": "fine"},
            ],
        ),
        # Two answers in a row stay two.
        (
            [said("One."), said("Two.")],
            [{"role": "assistant", "content": "One."}, {"role": "assistant", "content": "Two."}],
        ),
        (
            [{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}],
            [{"role": "assistant", "content": "", "refusal": "No."}],
        ),
        # What only its author can read goes along as it came.
        ([SECRET, said("Yes.")], [{"role": "assistant", "content": "Yes.", "reasoning_items": [SECRET]}]),
        # An image in an output follows the last output.
        (
            [
                call("a"),
                call("b"),
                result("a", [{"type": "input_image", "image_url": "data:,"}]),
                result("b"),
                ASKED,
            ],
            [
                called("a", "b"),
                {"role": "tool", "tool_call_id": "a", "content": "The output is in the next message."},
                {"role": "tool", "tool_call_id": "b", "content": "fine"},
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
                USER,
            ],
        ),
        (
            [thought("hm", encrypted_content="coterie_?"), said("Yes.")],
            [
                {
                    "role": "assistant",
                    "content": "Yes.",
                    "reasoning_content": "hm",
                    "reasoning_items": [thought("hm", encrypted_content="coterie_?")],
                }
            ],
        ),
        (
            [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}, said("Yes.")],
            [{"role": "assistant", "content": "Yes.", "reasoning_content": "hm"}],
        ),
        (
            [
                call("a"),
                result("a", [{"type": "input_text", "text": "x"}, {"type": "input_text", "text": "y"}]),
            ],
            [called("a"), {"role": "tool", "tool_call_id": "a", "content": "x\ny"}],
        ),
    ],
)
def test_items_become_messages(items: list[Item], expected: list[Item]) -> None:
    assert messages(*items) == expected


def test_parts_keep_their_kind() -> None:
    data = "data:image/png;base64,AA=="
    (message,) = messages(
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is it?"},
                {"type": "input_image", "image_url": data, "detail": "low"},
                {"type": "input_file", "file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            ],
        }
    )
    assert message["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": data, "detail": "low"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ]


@given(st.lists(st.sampled_from("utcrm"), max_size=12))
def test_no_message_comes_between_a_call_and_its_output(turns: list[str]) -> None:
    """u: the user speaks; t, m, c: the assistant thinks, speaks, calls; r: open calls get an output."""
    items: list[Item] = []
    waiting: list[str] = []
    for number, turn in enumerate(turns):
        if turn == "c":
            waiting.append(f"c{number}")
            items.append(call(waiting[-1]))
        elif turn == "t":
            items.append(thought("hm"))
        elif turn == "m":
            items.append(said("so"))
        else:  # nobody speaks before the calls have their outputs
            items += [result(each) for each in waiting]
            waiting = []
            if turn == "u":
                items.append(ASKED)
    if not items:
        return
    made = messages(*items)
    expected: list[str] = []
    for message in made:
        if message["role"] == "tool":
            assert message["tool_call_id"] == expected.pop(0)
        else:
            assert not expected
        expected += [each["id"] for each in message.get("tool_calls", ())]
    assert expected == waiting


def test_fields_have_their_counterparts() -> None:
    made = chat(
        max_output_tokens=9,
        reasoning={"effort": "low", "summary": "auto"},
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        top_logprobs=3,
        temperature=0,
        top_p=0.5,
        text={
            "verbosity": "low",
            "format": {"type": "json_schema", "name": "x", "schema": {}, "strict": True},
        },
        tools=[FUNCTION],
        tool_choice={"type": "function", "name": "look"},
        parallel_tool_calls=False,
        stream=True,
        stream_options={"include_obfuscation": False},
        store=True,
        metadata={"a": "b"},
        client_metadata={"x": "y"},
        user="u",
        prompt_cache_key="k",
        truncation="disabled",
        top_k=5,
        routing={"category": "coding"},
    )
    del made["messages"]
    assert made == {
        "model": "coterie",
        "max_tokens": 9,
        "reasoning_effort": "low",
        "logprobs": True,
        "top_logprobs": 3,
        "temperature": 0,
        "top_p": 0.5,
        "verbosity": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {}, "strict": True},
        },
        "tools": [LOOK],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": False,
        "stream": True,
        "user": "u",
        "prompt_cache_key": "k",
        "top_k": 5,
        "routing": {"category": "coding"},
    }


def test_a_response_before_it_is_the_decision_before_it() -> None:
    document = {"input": "hi", "routing": {"category": "coding"}}
    made = responses_dialect("resp_12").to_chat(document).chat
    assert made["routing"] == {"category": "coding", "previous_decision": "dec_12"}
    document = {"input": "hi", "routing": {"previous_decision": "dec_3"}}
    assert responses_dialect("resp_12").to_chat(document).chat["routing"] == {"previous_decision": "dec_3"}


def test_custom_tools_and_namespaces_are_functions() -> None:
    patch = {"type": "custom", "name": "patch", "description": "Edits.", "format": GRAMMAR}
    agents = {"type": "namespace", "name": "agents", "description": "", "tools": [FUNCTION]}
    used = [
        {"type": "custom_tool_call", "call_id": "a", "name": "patch", "input": 'say "x"'},
        {"type": "custom_tool_call_output", "call_id": "a", "output": "done"},
        call("b", namespace="agents"),
    ]
    made = chat(input=used, tools=[patch, agents], tool_choice={"type": "custom", "name": "patch"})
    functions = [tool["function"] for tool in made["tools"]]
    assert [function["name"] for function in functions] == ["patch", "agents__look"]
    assert list(functions[0]["parameters"]["properties"]) == ["input"]
    assert "start: WORD" in functions[0]["description"]
    assert made["tool_choice"] == {"type": "function", "function": {"name": "patch"}}
    (first,), (second,) = (m["tool_calls"] for m in made["messages"] if m["role"] == "assistant")
    assert json.loads(first["function"]["arguments"]) == {"input": 'say "x"'}
    assert second["function"]["name"] == "agents__look"


GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: WORD"}


def test_allowed_tools_leave_the_others_out() -> None:
    other = {**FUNCTION, "name": "other"}
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "look"}]}
    made = chat(tools=[other, FUNCTION], tool_choice=allowed)
    assert (made["tools"], made["tool_choice"]) == ([LOOK], "required")


def test_tools_that_agents_always_announce_are_left_out_beside_functions() -> None:
    assert chat(tools=[{"type": "web_search"}, FUNCTION])["tools"] == [LOOK]


def test_a_file_of_text_is_text_as_in_a_chat() -> None:
    file = {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGk="}
    (message,) = chat(input=[{"role": "user", "content": [file]}])["messages"]
    assert message["content"] == '<file name="a.txt">\nhi\n</file>'


@pytest.mark.parametrize("kind", ["json_object", "text"])
def test_other_formats(kind: str) -> None:
    made = chat(text={"format": {"type": kind}})
    assert made.get("response_format") == ({"type": kind} if kind == "json_object" else None)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [FUNCTION, {"type": "file_search", "vector_store_ids": []}]}, "tools[1]"),
        ({"tools": [FUNCTION, {"type": "mcp"}]}, "tools[1]"),
        ({"tools": [FUNCTION, {"type": None}]}, "tools[1].type"),
        ({"tools": [FUNCTION, FUNCTION]}, "tools[1]"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "custom", "name": "c", "format": {"type": "xml"}}]}, "tools[0].format"),
        ({"tools": [{"type": "namespace", "name": "n"}]}, "tools[0].tools"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "else"}}, "tool_choice"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "web_search_preview"}}, "tool_choice"),
        ({"tools": [FUNCTION], "tool_choice": "perhaps"}, "tool_choice"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"input": [{"type": "computer_call_output", "call_id": "a", "output": {}}]}, "input[0]"),
        ({"input": ["hi"]}, "input[0]"),
        ({"input": [{"role": "wizard", "content": "hi"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_smell"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0].file_id",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "f"}]}]},
            "input[0].content[0].file_url",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "image_url", "image_url": 5}]}]},
            "input[0].content[0]",
        ),
        ({"input": [ASKED, result("nobody")]}, "input[1].call_id"),
        ({"input": [call("a", arguments=None)]}, "input[0].arguments"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(fields: Item, param: str) -> None:
    with pytest.raises(ServiceError) as refused:
        chat(**fields)
    assert (refused.value.status, refused.value.param) == (400, param)
