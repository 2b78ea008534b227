"""The body that goes out: the caller's, under the expert's model, defaults and prompt."""

from typing import Any

import pytest

from base.system_prompt import with_system_prompt
from experts.expert import Expert
from experts.outgoing import outgoing_body, question_of

HI = {"role": "user", "content": "hi"}
SYSTEM = {"role": "system", "content": "S"}


def expert(**fields: Any) -> Expert:
    defaults = {"name": "a", "endpoint": "http://h/v1", "model": "m", "params_b": 1, "context_length": 8}
    return Expert.model_validate(defaults | fields)


def test_the_callers_body_is_left_alone() -> None:
    body = {"model": "coterie", "messages": [HI], "routing": {"expert": "a"}, "stream": True}
    before = {**body, "messages": [dict(HI)]}
    out = outgoing_body(expert(system_prompt="Be kind."), body, stream=True)
    assert body == before
    assert out["messages"][0] == {"role": "system", "content": "Be kind."}


def test_a_question_holds_nothing_of_its_routing_and_delivery() -> None:
    body = {"messages": [HI], "routing": {}, "stream": True, "stream_options": {}, "n": 2, "top_k": 3}
    assert question_of(body) == {"messages": [HI], "top_k": 3}


def test_a_null_is_no_wish_of_the_caller() -> None:
    out = outgoing_body(expert(sampling={"temperature": 0.2}), {"temperature": None}, stream=False)
    assert out["temperature"] == 0.2


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_default_limit_never_stands_beside_the_callers(name: str) -> None:
    out = outgoing_body(expert(sampling={"max_tokens": 100}), {name: 5}, stream=False)
    limits = {key: value for key, value in out.items() if key.startswith("max_")}
    assert limits == {name: 5}


def test_whole_answers_are_asked_for_without_stream_fields() -> None:
    out = outgoing_body(expert(), {"stream": True, "stream_options": {"include_usage": True}}, stream=False)
    assert out == {"model": "m"}


@pytest.mark.parametrize(
    "given", [None, "usage", {}, {"include_usage": False}, {"include_obfuscation": False}]
)
def test_streams_are_asked_for_usage_always(given: Any) -> None:
    body = {"messages": [HI], "stream": True, "stream_options": given}
    options = outgoing_body(expert(), body, stream=True)["stream_options"]
    assert options == {**(given if isinstance(given, dict) else {}), "include_usage": True}


@pytest.mark.parametrize(
    ("messages", "merged"),
    [
        ([HI], [{"role": "system", "content": "P"}, HI]),
        ([], [{"role": "system", "content": "P"}]),
        ([{"role": "system", "content": "S"}, HI], [{"role": "system", "content": "P\n\nS"}, HI]),
        ([{"role": "system", "content": ""}, HI], [{"role": "system", "content": "P"}, HI]),
        ([{"role": "developer", "content": "S"}, HI], [{"role": "developer", "content": "P\n\nS"}, HI]),
        (
            [{"role": "system", "content": [{"type": "text", "text": "S"}]}],
            [{"role": "system", "content": [{"type": "text", "text": "P"}, {"type": "text", "text": "S"}]}],
        ),
        ([HI, SYSTEM], [{"role": "system", "content": "P"}, HI, SYSTEM]),
    ],
)
def test_the_prompt_goes_before_the_callers_own_in_one_message(
    messages: list[Any], merged: list[Any]
) -> None:
    assert with_system_prompt("P", messages) == merged


def test_the_registry_adapts_requests_to_a_server() -> None:
    odd = expert(
        drop_fields=["store", "messages[].name"], message_rules=["system_first"], limit_field="max_tokens"
    )
    body = {
        "messages": [{**HI, "name": "ann"}, SYSTEM],
        "store": False,
        "metadata": {},
        "max_completion_tokens": 5,
    }
    assert outgoing_body(odd, body, stream=False) == {
        "model": "m",
        "messages": [HI, {"role": "user", "content": "S"}],
        "metadata": {},
        "max_tokens": 5,
    }


def test_an_answer_is_gone_on_with_only_when_it_is_the_last_message() -> None:
    fields = {"continue_final_message": True, "add_generation_prompt": False}
    begun = {"messages": [HI, {"role": "assistant", "content": "He"}], **fields}
    assert outgoing_body(expert(), begun, stream=False)["continue_final_message"] is True
    asked = {"messages": [*begun["messages"], HI], **fields}  # type: ignore[misc]
    assert outgoing_body(expert(), asked, stream=False).keys() == {"model", "messages"}


def test_nothing_is_said_of_tools_where_there_are_none() -> None:
    fields = {"tools": [], "parallel_tool_calls": False}
    assert outgoing_body(expert(), {"messages": [HI], **fields}, stream=False).keys() == {"messages", "model"}
    tools = {"tools": [{"type": "function"}], "parallel_tool_calls": False}
    assert outgoing_body(expert(), {"messages": [HI], **tools}, stream=False).items() >= tools.items()
