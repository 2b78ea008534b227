"""An answer is known by what it says, however its pieces come and in whatever dialect."""

from collections.abc import Sequence
from typing import Any

import pytest

from app.serving.answer_reader import AnswerReader
from app.serving.message_chain import ConversationTurn
from experts.expert_replies import END_OF_STREAM, StreamEvent

SAID = "I read it."
ARGUMENTS = '{"path":"a.py"}'


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def call(index: int, arguments: str, call_id: str | None = None) -> dict[str, Any]:
    named = {} if call_id is None else {"id": call_id}
    name = {} if call_id is None else {"name": "read"}
    return {"tool_calls": [{"index": index, **named, "function": {**name, "arguments": arguments}}]}


WHOLE: dict[str, dict[str, Any]] = {
    "chat": {
        "choices": [
            {
                "message": {
                    "content": SAID,
                    "tool_calls": [{"id": "c1", "function": {"name": "read", "arguments": ARGUMENTS}}],
                }
            }
        ]
    },
    "responses": {
        "output": [
            {"type": "message", "content": [{"type": "output_text", "text": SAID}]},
            {"type": "function_call", "call_id": "c1", "name": "read", "arguments": ARGUMENTS},
        ]
    },
    "messages": {
        "content": [
            {"type": "text", "text": SAID},
            {"type": "tool_use", "id": "c1", "name": "read", "input": {"path": "a.py"}},
        ]
    },
}
STREAMS: dict[str, list[dict[str, Any]]] = {
    "chat": [
        chunk({"role": "assistant", "content": "I re"}),
        chunk({"content": "ad it."}),
        chunk(call(0, "", "c1")),
        chunk(call(0, '{"path":')),
        chunk(call(0, ' "a.py"}'), "tool_calls"),
    ],
    "responses": [
        {"type": "response.output_text.delta", "output_index": 0, "delta": "I read"},
        {"type": "response.output_item.done", "output_index": 0, "item": WHOLE["responses"]["output"][0]},
        {"type": "response.output_item.done", "output_index": 1, "item": WHOLE["responses"]["output"][1]},
    ],
    "messages": [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": SAID}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "id": "c1", "name": "read", "input": {}},
        },
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": ARGUMENTS},
        },
        {"type": "content_block_stop", "index": 1},
    ],
}


def told(answers: Sequence[ConversationTurn]) -> list[tuple[str, list[tuple[str | None, str, str]]]]:
    return [(each.text, [(made.id, made.name, made.arguments) for made in each.calls]) for each in answers]


EXPECTED = [(SAID, [("c1", "read", ARGUMENTS)])]


@pytest.mark.parametrize("dialect", WHOLE)
def test_whole_answers_are_read(dialect: str) -> None:
    reader = AnswerReader()
    reader.whole(WHOLE[dialect])
    assert told(reader.answers) == EXPECTED


@pytest.mark.parametrize("dialect", STREAMS)
def test_streams_are_read_and_tell_when_a_client_may_go_on(dialect: str) -> None:
    reader = AnswerReader()
    *early, last = [StreamEvent.of(each) for each in STREAMS[dialect]]
    may_go_on = [reader.events([each]) for each in early]
    assert not may_go_on[0]
    assert reader.events([last])
    assert not reader.events([END_OF_STREAM])
    assert told(reader.answers) == EXPECTED


def test_choices_are_read_apart() -> None:
    reader = AnswerReader()
    pieces = [("One", 0), ("Two", 1), (" fish", 0), (" birds", 1)]
    reader.events([StreamEvent.of(chunk({"content": text}, index=index)) for text, index in pieces])
    assert [each.text for each in reader.answers] == ["One fish", "Two birds"]


def test_provider_state_is_read() -> None:
    reader = AnswerReader()
    blocks: list[dict[str, Any]] = [
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s1"}},
    ]
    reader.events([StreamEvent.of(each) for each in blocks])
    assert [each.state for each in reader.answers] == [("s1",)]


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": [None, 3, {"index": "x", "delta": []}]},
        {"choices": [{"delta": {"tool_calls": [None, {"index": None, "id": 3, "function": "x"}]}}]},
        {"type": "content_block_delta", "index": 9, "delta": None},
        {"type": "response.output_item.done", "output_index": None, "item": []},
        {"type": ["x"]},
    ],
)
def test_odd_answers_are_read_as_far_as_they_go(odd: dict[str, Any]) -> None:
    reader = AnswerReader()
    reader.events([StreamEvent.of(odd)])
    reader.whole(odd)
    assert all(not each.text for each in reader.answers)
