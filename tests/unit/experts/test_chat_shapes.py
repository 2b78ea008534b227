"""Messages and deltas of servers, made into OpenAI's."""

import json
from typing import Any

import pytest

from experts.chat_shapes import StreamedChoice, finish_reason, whole_message


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("stop", "stop"),
        (" Stop ", "stop"),
        ("eos", "stop"),
        ("MAX_TOKENS", "length"),
        ("tool_use", "tool_calls"),
        ("SAFETY", "content_filter"),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_a_finish_reason_is_one_of_openais(said: Any, meant: str | None) -> None:
    assert finish_reason(said) == meant


def streamed(*deltas: dict[str, Any], finish: str = "stop") -> tuple[list[dict[str, Any]], str | None]:
    """The deltas as they go on, the last one with the finish reason."""
    choice = StreamedChoice()
    read = [choice.read(delta, None) for delta in deltas] + [choice.read({}, finish)]
    return [each[0] for each in read if each], choice.finish


def arguments(deltas: list[dict[str, Any]]) -> list[Any]:
    """Of each call, as a client puts them together."""
    found: dict[int, str] = {}
    for delta in deltas:
        for call in delta.get("tool_calls", ()):
            found[call["index"]] = found.get(call["index"], "") + call["function"]["arguments"]
    assert list(found) == list(range(len(found)))
    return [json.loads(text) for text in found.values()]


def test_a_call_begins_with_its_id_once() -> None:
    call = {"index": 4, "id": "a", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}
    rest = {**call, "function": {"name": "f", "arguments": ": 1}"}}
    deltas, finish = streamed({"tool_calls": [call]}, {"tool_calls": [rest]})
    assert deltas[0] == {"role": "assistant", "tool_calls": [{**call, "index": 0}]}
    assert deltas[1] == {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}
    assert (arguments(deltas), finish) == ([{"a": 1}], "tool_calls")


def test_two_calls_of_one_number_are_two_by_their_ids() -> None:
    calls = [
        {"index": 0, "id": each, "function": {"name": "f", "arguments": f'{{"is": "{each}"}}'}}
        for each in ("a", "b")
    ]
    deltas, _ = streamed(*({"tool_calls": [call]} for call in calls))
    assert arguments(deltas) == [{"is": "a"}, {"is": "b"}]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    deltas, _ = streamed({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "now"}}]})
    assert arguments(deltas) == [{}]
    message, finish = whole_message({"tool_calls": [{"function": {"name": "now", "arguments": {}}}]}, None)
    (call,) = message["tool_calls"]
    assert (call["function"]["arguments"], call["type"], finish) == ("{}", "function", "tool_calls")
    assert call["id"].startswith("call_")


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_arguments_that_were_cut_off_are_not_none(finish: str) -> None:
    call = {"index": 0, "id": "a", "function": {"name": "now", "arguments": ""}}
    deltas, ended = streamed({"tool_calls": [call]}, finish=finish)
    message, _ = whole_message({"tool_calls": [call]}, finish)
    assert ended == finish
    assert "tool_calls" not in deltas[-1]
    assert message["tool_calls"][0]["function"]["arguments"] == ""


def test_fields_that_we_do_not_know_are_kept() -> None:
    call = {"id": "a", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"signature": "s"}}
    deltas, _ = streamed({"tool_calls": [call], "reasoning_content": "Hm"})
    message, _ = whole_message({"content": None, "tool_calls": [call], "reasoning_content": "Hm"}, "stop")
    assert deltas[0]["reasoning_content"] == message["reasoning_content"] == "Hm"
    assert deltas[0]["tool_calls"][0]["extra_content"] == call["extra_content"]
    assert message["tool_calls"][0]["extra_content"] == call["extra_content"]


def test_nothing_follows_the_end_but_what_says_something() -> None:
    choice = StreamedChoice()
    choice.read({"content": "Hi"}, "stop")
    assert choice.read({"role": "assistant", "content": ""}, "stop") is None
    assert choice.read({"content": "!"}, None) == ({"content": "!"}, None)
