"""Chat completions as messages of Anthropic's API, checked by its own SDK's models."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from app.dialects.error_shapes import anthropic_error
from app.dialects.messages_answer import AnswerOptions, whole_message
from app.dialects.messages_stream import MessageStream
from app.errors import ServiceError

Document = dict[str, Any]

ROUTING = {"id": "dec_1234", "expert": "coder"}
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
MESSAGE = TypeAdapter(Message)
EVENT = TypeAdapter[Any](RawMessageStreamEvent)
THINKS = AnswerOptions(thinking=True)
PLAIN = AnswerOptions()


def fits(value: Any, path: str = "") -> None:
    """Refuse every field that the SDK's models do not know, but ours."""
    if isinstance(value, BaseModel):
        unknown = set(value.model_extra or {}) - {"routing"}
        assert not unknown, f"{path}: {unknown}"
        for name in value.model_fields_set:
            fits(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            fits(each, f"{path}[{number}]")


def shown(message: Document, options: AnswerOptions = PLAIN, **choice: Any) -> Document:
    completion = {
        "id": "c",
        "model": "coder",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}],
        "usage": USAGE,
    }
    document = whole_message(completion, ROUTING, options)
    fits(MESSAGE.validate_python(document, strict=True))
    return document


def call(number: int, arguments: str) -> Document:
    function = {"name": "look", "arguments": arguments}
    return {"id": f"call_{number}", "type": "function", "function": function}


def test_a_text() -> None:
    assert shown({"role": "assistant", "content": "Hello."}) == {
        "id": "msg_1234",
        "type": "message",
        "role": "assistant",
        "model": "coder",
        "content": [{"type": "text", "text": "Hello."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": {
            "input_tokens": 6,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 4,
            "output_tokens": 5,
            "output_tokens_details": {"thinking_tokens": 2},
        },
        "routing": ROUTING,
    }


def test_calls_come_after_the_text() -> None:
    message = {"content": "I look.", "tool_calls": [call(1, '{"a": 1}'), call(2, "")]}
    document = shown(message, finish_reason="tool_calls")
    assert document["content"][1:] == [
        {"type": "tool_use", "id": "call_1", "name": "look", "input": {"a": 1}},
        {"type": "tool_use", "id": "call_2", "name": "look", "input": {}},
    ]
    assert document["stop_reason"] == "tool_use"


@pytest.mark.parametrize("arguments", ['{"a": ', "[1]", "null", "nonsense"])
def test_arguments_that_are_no_object_are_shown_as_they_are(arguments: str) -> None:
    document = shown({"content": None, "tool_calls": [call(1, arguments)]})
    assert document["content"][0]["input"] == {"invalid_arguments": arguments}
    assert document["stop_reason"] == "tool_use"


def test_thinking_is_for_clients_that_asked() -> None:
    message = {"content": "Yes.", "reasoning": "Hm."}
    thought = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    assert shown(message, THINKS)["content"] == [thought, {"type": "text", "text": "Yes."}]
    assert shown(message)["content"] == [{"type": "text", "text": "Yes."}]
    quiet = AnswerOptions(thinking=True, thinking_text=False)
    assert shown(message, quiet)["content"][0]["thinking"] == ""


def test_signed_thinking_keeps_its_signature() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "eHg="},
    ]
    message = {"content": "Yes.", "reasoning_content": "Hm.", "thinking_blocks": blocks}
    assert shown(message, THINKS)["content"][:2] == blocks


@pytest.mark.parametrize(
    ("choice", "reason", "sequence"),
    [
        ({"finish_reason": "length"}, "max_tokens", None),
        ({"finish_reason": "content_filter"}, "refusal", None),
        ({"finish_reason": "eos"}, "end_turn", None),
        ({"finish_reason": "tool_calls"}, "end_turn", None),
        ({"stop_reason": "END"}, "stop_sequence", "END"),
        ({"stop_reason": 128009}, "end_turn", None),
    ],
)
def test_stop_reasons(choice: Document, reason: str, sequence: str | None) -> None:
    options = AnswerOptions.of({"stop_sequences": ["END"]})
    document = shown({"content": "x"}, options, **choice)
    assert (document["stop_reason"], document["stop_sequence"]) == (reason, sequence)


def test_a_refusal_is_said_and_named() -> None:
    document = shown({"content": None, "refusal": "I cannot."})
    assert document["content"] == [{"type": "text", "text": "I cannot."}]
    assert document["stop_details"]["explanation"] == "I cannot."


@pytest.mark.parametrize("said", ["prompt is too long: 9 tokens > 8 maximum", "It has 9 tokens, of 8."])
def test_what_is_too_long_is_said_in_anthropics_words_once(said: str) -> None:
    error = ServiceError(400, "context_length_exceeded", said)
    assert anthropic_error(error)["error"]["message"].count("prompt is too long") == 1


# Streams


def delta(finish: str | None = None, **said: Any) -> Document:
    return {"model": "coder", "choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


def piece(index: int | None, arguments: str | None = None, **fields: Any) -> Document:
    function = {name: fields.pop(name) for name in ("name",) if name in fields}
    if arguments is not None:
        function["arguments"] = arguments
    return {**({} if index is None else {"index": index}), **fields, "function": function}


def calls(*pieces: Document) -> Document:
    return delta(tool_calls=list(pieces))


LAST = {"model": "coder", "choices": [], "usage": USAGE}


def events(chunks: Sequence[Document], options: AnswerOptions = PLAIN) -> list[Document]:
    stream = MessageStream(options)
    made = [stream.start(chunks[0], ROUTING)]
    for chunk in chunks:
        made += stream.add(chunk)
    made += stream.finish()
    for event in made:
        fits(EVENT.validate_python(event, strict=True))
    return made


def blocks(made: Iterable[Document]) -> list[tuple[str, str]]:
    """What a client reads: each block's type and name, and its text or JSON; blocks never overlap."""
    found: list[tuple[str, str]] = []
    current = -1
    for event in made:
        match event["type"]:
            case "content_block_start":
                assert current == -1 and event["index"] == len(found)
                current = event["index"]
                block = event["content_block"]
                found.append((block.get("name", block["type"]), block.get("data", "")))
            case "content_block_delta":
                assert event["index"] == current
                given = event["delta"]
                words = next(given[name] for name in given if name != "type")
                found[-1] = (found[-1][0], found[-1][1] + words)
            case "content_block_stop":
                assert event["index"] == current
                current = -1
    assert current == -1
    return found


def test_a_streamed_text() -> None:
    made = events(
        [delta(role="assistant", content=""), delta(content="Hel"), delta("stop", content="lo"), LAST]
    )
    assert [event["type"] for event in made] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert made[0]["message"]["routing"] == ROUTING
    assert made[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None, "stop_details": None}
    assert made[-2]["usage"]["output_tokens"] == 5


HEAD_1 = piece(0, "", id="call_1", type="function", name="look")
HEAD_2 = piece(1, "", id="call_2", type="function", name="go")
REST_1 = piece(0, '{"a": 1}')


@pytest.mark.parametrize(
    "chunks",
    [
        [calls(HEAD_1), calls(piece(0, '{"a"')), calls(piece(0, ": 1}")), calls(HEAD_2, piece(1, "{}"))],
        [calls(HEAD_1, HEAD_2), calls(REST_1, piece(1, "{}"))],
        [calls(HEAD_1), calls(HEAD_2), calls(piece(1, "{")), calls(REST_1), calls(piece(1, "}"))],
        [calls({**HEAD_1, "function": {"name": "look", "arguments": '{"a": 1}'}}, HEAD_2)],
    ],
    ids=["one after the other", "together", "mixed", "whole"],
)
def test_streamed_calls_are_told_apart(chunks: list[Document]) -> None:
    made = events([delta(content="I look."), *chunks, delta("tool_calls"), LAST])
    assert blocks(made) == [("text", "I look."), ("look", '{"a": 1}'), ("go", "{}")]
    assert made[-2]["delta"]["stop_reason"] == "tool_use"


def test_text_in_the_middle_of_a_call_follows_it() -> None:
    made = events(
        [calls(HEAD_1), calls(piece(0, '{"a"')), delta(content="Hm."), calls(piece(0, ": 1}")), LAST]
    )
    assert blocks(made) == [("look", '{"a": 1}'), ("text", "Hm.")]


def test_a_streamed_call_without_json_is_still_json() -> None:
    made = events([calls(HEAD_1), calls(piece(0, '{"a": ')), delta("stop")])
    ((name, written),) = blocks(made)
    assert name == "look" and json.loads(written) == {"invalid_arguments": '{"a": '}
    assert made[-2]["delta"]["stop_reason"] == "tool_use"


def test_pieces_of_a_call_show_that_the_stream_lives() -> None:
    stream = MessageStream(PLAIN)
    stream.add(calls(HEAD_1))
    assert [event["type"] for event in stream.add(calls(piece(0, '{"long": ')))] == ["content_block_delta"]


def test_streamed_thinking_has_blocks_of_its_own() -> None:
    signed = {"type": "thinking", "thinking": "", "signature": "c2ln"}
    hidden = {"type": "redacted_thinking", "data": "eHg="}
    chunks = [
        delta(reasoning_content="Hm"),
        delta(reasoning_content=" so."),
        delta(thinking_blocks=[signed]),
        delta(thinking_blocks=[hidden]),
        delta(content="Yes."),
        delta("stop"),
    ]
    assert blocks(events(chunks, THINKS)) == [
        ("thinking", "Hm so.c2ln"),
        ("redacted_thinking", "eHg="),
        ("text", "Yes."),
    ]
    assert blocks(events(chunks)) == [("text", "Yes.")]


def test_an_empty_answer_is_a_message_all_the_same() -> None:
    made = events([delta(role="assistant"), delta("stop")])
    assert [event["type"] for event in made] == ["message_start", "message_delta", "message_stop"]


def test_a_streamed_refusal() -> None:
    made = events([delta(refusal="I can"), delta(refusal="not."), delta("stop")])
    assert blocks(made) == [("text", "I cannot.")]
    assert made[-2]["delta"]["stop_reason"] == "refusal"


WORDS = st.sampled_from(["", "a", '{"a": ', "1}", "{}", "[1]"])
PIECES = st.fixed_dictionaries(
    {
        "index": st.sampled_from([0, 1]),
        "function": st.fixed_dictionaries({"arguments": WORDS | st.none()}, optional={"name": WORDS}),
    },
    optional={"id": st.sampled_from(["call_1", "call_2", ""])},
)
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "content": WORDS | st.none(),
        "reasoning": WORDS,
        "refusal": WORDS | st.none(),
        "tool_calls": st.lists(PIECES, max_size=2),
        "thinking_blocks": st.lists(
            st.sampled_from(
                [
                    {"type": "thinking", "thinking": "", "signature": "c2ln"},
                    {"type": "redacted_thinking", "data": "eHg="},
                ]
            ),
            max_size=2,
        ),
    },
)


@given(st.lists(DELTAS, min_size=1, max_size=8), st.booleans())
def test_whatever_comes_the_blocks_are_whole(deltas: list[Document], thinking: bool) -> None:
    chunks = [*(delta(**said) for said in deltas), delta("stop"), LAST]
    made = events(chunks, AnswerOptions(thinking=thinking))
    called = False
    for name, written in blocks(made):
        if name not in {"text", "thinking", "redacted_thinking"}:
            called = True
            assert isinstance(json.loads(written), dict)
    assert called == (made[-2]["delta"]["stop_reason"] in {"tool_use"}) or "refusal" in str(deltas)
