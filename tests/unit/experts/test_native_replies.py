"""Answers in the dialects that servers speak themselves: streams that end well, break, and fail at once."""

import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.sse import Event
from experts.errors import ExpertBadReply, ExpertBusy, ExpertError, ExpertRejected, ExpertUnavailable
from experts.expert import DialectName, Expert
from experts.expert_replies import ReplyStream, StreamEvent
from experts.native_outgoing import embedding_body, fits_dialect, native_body
from experts.reply_forms import EMBEDDINGS, FORMS

EXPERT = Expert(name="a", endpoint="http://h/v1", model="m", params_b=1, context_length=8)


def event(document: Mapping[str, Any], *, named: bool = True) -> bytes:
    name = f"event: {document['type']}\n".encode() if named else b""
    return name + b"data: " + json.dumps(document).encode() + b"\n\n"


def response(status: str, **fields: Any) -> dict[str, Any]:
    said = {"id": "r", "object": "response", "model": "m", "output": [], "status": status, **fields}
    return {"type": f"response.{status}", "sequence_number": 0, "response": said}


CREATED = event(response("created"))
TEXT = event({"type": "response.output_text.delta", "delta": "Hello", "item_id": "i", "output_index": 0})
COMPLETED = event(response("completed", usage={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}))
INCOMPLETE = event(response("incomplete", incomplete_details={"reason": "max_output_tokens"}))
FAILED = event(response("failed", error={"code": "rate_limit_exceeded", "message": "slow"}))

START = event(
    {
        "type": "message_start",
        "message": {"id": "x", "model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}},
    }
)
BLOCK = event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
DELTA = event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}})
ENDING = event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}})
STOP = event({"type": "message_stop"})
PING = event({"type": "ping"})
OVERLOADED = event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
BROKEN_BLOCK = event({"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}})


def stream_of(dialect: DialectName, *source: bytes) -> ReplyStream:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in source:
            yield piece

    return ReplyStream(
        EXPERT, pieces(), headers={}, deadline=time.monotonic() + 10, max_event_bytes=10_000, dialect=dialect
    )


async def read(dialect: DialectName, *source: bytes) -> tuple[ReplyStream, list[StreamEvent]]:
    stream = stream_of(dialect, *source)
    await stream.begin(5)
    return stream, [event async for batch in stream for event in batch]


def names_in(events: Iterable[StreamEvent]) -> set[Any]:
    """The models that the events name."""
    chunks = [each.chunk or {} for each in events]
    inner = [chunk.get("response") or chunk.get("message") or {} for chunk in chunks]
    return {each["model"] for each in inner if "model" in each}


@pytest.mark.parametrize(
    ("dialect", "source", "finish"),
    [
        ("responses", CREATED + TEXT + COMPLETED, "stop"),
        ("responses", CREATED + PING + TEXT + INCOMPLETE, "length"),
        ("responses", (CREATED + TEXT + COMPLETED).replace(b"\n", b"\r\n"), "stop"),
        ("responses", CREATED + TEXT + COMPLETED + b"data: [DONE]\n\n", "stop"),
        ("responses", b"".join(event(response(s), named=False) for s in ("created", "completed")), "stop"),
        ("messages", START + BLOCK + PING + DELTA + ENDING + STOP, "stop"),
        ("messages", START + BLOCK + DELTA + ENDING, "stop"),
        ("messages", START + BLOCK + DELTA + ENDING + b"data: [DONE]\n\n", "stop"),
    ],
)
async def test_a_native_answer_passes_with_our_name_and_its_own_end(
    dialect: DialectName, source: bytes, finish: str
) -> None:
    stream, events = await read(dialect, source)
    assert stream.finish_reason == finish
    assert [each.done for each in events] == [False] * (len(events) - 1) + [True]
    assert names_in(events) == {"a"}
    last = events[-1]
    assert last.chunk is not None
    assert last.event == last.chunk["type"]
    assert last.raw.startswith(f"event: {last.event}\ndata: ".encode())


async def test_a_truncated_response_that_is_told_as_complete_ends_as_incomplete() -> None:
    ending = response("completed")
    ending["response"]["status"] = "incomplete"
    stream, events = await read("responses", CREATED + TEXT + event(ending))
    assert (events[-1].event, stream.finish_reason) == ("response.incomplete", "length")


@pytest.mark.parametrize(
    ("dialect", "source"),
    [("responses", CREATED + TEXT + COMPLETED), ("messages", START + BLOCK + DELTA + ENDING + STOP)],
)
async def test_what_a_native_stream_counts_is_told_as_chat_does(dialect: DialectName, source: bytes) -> None:
    stream, _ = await read(dialect, source)
    assert stream.usage == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert stream.model == "m"


@pytest.mark.parametrize(
    ("dialect", "source"),
    [
        ("responses", CREATED + TEXT),
        ("responses", CREATED + TEXT + b"data: [DONE]\n\n"),
        ("responses", CREATED + TEXT + FAILED),
        ("responses", CREATED + TEXT + event({"type": "error", "code": None, "message": "gone"})),
        ("messages", START + BLOCK + DELTA),
        ("messages", START + BLOCK + DELTA + OVERLOADED),
        ("messages", START + BLOCK + DELTA + b"data: <html>\n\n"),
    ],
)
async def test_a_native_answer_that_breaks_has_no_end(dialect: DialectName, source: bytes) -> None:
    stream = stream_of(dialect, *(part + b"\n\n" for part in source.split(b"\n\n") if part))
    await stream.begin(5)
    events: list[StreamEvent] = []
    with pytest.raises(ExpertBadReply):
        async for batch in stream:
            events += batch
    assert events
    assert not any(each.done for each in events)


@pytest.mark.parametrize(
    ("dialect", "source", "error"),
    [
        ("responses", b"", ExpertBadReply),
        ("responses", CREATED, ExpertBadReply),
        ("responses", CREATED + FAILED, ExpertBusy),
        ("responses", CREATED + event(response("failed", error=None)), ExpertUnavailable),
        ("responses", b'{"object": "response", "output": []}', ExpertBadReply),
        ("responses", b'{"error": "overloaded"}', ExpertUnavailable),
        ("messages", START + BLOCK, ExpertBadReply),
        ("messages", START + PING * 3 + OVERLOADED, ExpertUnavailable),
        ("messages", BROKEN_BLOCK, ExpertBusy),
        (
            "messages",
            event({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}),
            ExpertRejected,
        ),
    ],
)
async def test_a_native_answer_that_fails_at_once_is_an_error(
    dialect: DialectName, source: bytes, error: type[ExpertError]
) -> None:
    with pytest.raises(error):
        await stream_of(dialect, source).begin(5)


@pytest.mark.parametrize(
    ("dialect", "first"),
    [
        ("responses", {"type": "response.output_item.added", "item": {"type": "function_call", "name": "f"}}),
        ("responses", {"type": "response.reasoning_text.delta", "delta": "Hm"}),
        ("messages", {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "f"}}),
        ("messages", {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "Hm"}}),
    ],
)
async def test_calls_and_thoughts_begin_an_answer_too(dialect: DialectName, first: dict[str, Any]) -> None:
    await stream_of(dialect, event(first)).begin(5)


FIELDS = (
    "type choices delta message error usage response item model index finish_reason object content_block "
    "stop_reason output status code detail id created content text x_groq embedding data"
)
WORDS = ["error", "ping", "response.completed", "message_delta", "message_start"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS.split(" ")), inner, max_size=6)
    ),
    max_leaves=20,
)


@given(st.sampled_from(sorted(FORMS)), st.lists(JSON, min_size=1, max_size=3))
def test_whatever_an_event_holds_it_is_read_or_refused(dialect: DialectName, documents: list[Any]) -> None:
    reader = FORMS[dialect].reader(EXPERT, None)
    try:
        for document in documents:
            reader.read(Event(b"", json.dumps(document).encode()))
        reader.end()
    except ExpertError as error:
        assert error.expert == "a"


@given(st.sampled_from([*sorted(FORMS), "embeddings"]), JSON)
def test_whatever_a_reply_holds_it_is_read_or_refused(dialect: str, document: Any) -> None:
    form = EMBEDDINGS if dialect == "embeddings" else FORMS[dialect]  # type: ignore[index]
    try:
        body = form.check(EXPERT, document, None)
    except ExpertError as error:
        assert error.expert == "a"
    else:
        assert body["model"] == "a"
        form.usage(body)


def expert_with(**fields: Any) -> Expert:
    return Expert(name="a", endpoint="http://h/v1", model="m", params_b=1, context_length=8, **fields)


@pytest.mark.parametrize(
    ("dialect", "document"),
    [
        ("responses", {"output": [None]}),
        ("responses", {"output": [{"id": "i"}]}),
        ("responses", {"output": [{"type": "message", "content": None}]}),
        ("responses", {"output": [{"type": "message", "content": ["Hello"]}]}),
        ("messages", {"content": "Hello"}),
        ("messages", {"content": [None]}),
        ("messages", {"content": [{"text": "Hello"}]}),
    ],
)
def test_a_native_answer_with_parts_that_are_none_is_refused(
    dialect: DialectName, document: dict[str, Any]
) -> None:
    with pytest.raises(ExpertBadReply):
        FORMS[dialect].check(EXPERT, document, None)


def test_defaults_go_under_each_dialects_own_names() -> None:
    sampling = {
        "temperature": 0.5,
        "top_k": 5,
        "max_tokens": 9,
        "stop": "X",
        "reasoning_effort": "low",
        "response_format": {"type": "text"},
    }
    expert = expert_with(sampling=sampling, system_prompt="Be brief.")
    assert native_body(expert, {"input": "hi", "routing": {}}, "responses", stream=False) == {
        "input": "hi",
        "model": "m",
        "temperature": 0.5,
        "top_k": 5,
        "max_output_tokens": 9,
        "reasoning": {"effort": "low"},
        "instructions": "Be brief.",
    }
    assert native_body(expert, {"messages": [], "max_tokens": 3}, "messages", stream=True) == {
        "messages": [],
        "model": "m",
        "max_tokens": 3,
        "temperature": 0.5,
        "top_k": 5,
        "stop_sequences": ["X"],
        "system": "Be brief.",
        "stream": True,
    }
    assert native_body(expert, {"prompt": "hi"}, "completions", stream=True) == {
        "prompt": "hi",
        "model": "m",
        "temperature": 0.5,
        "top_k": 5,
        "max_tokens": 9,
        "stop": "X",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert embedding_body(expert, {"input": "hi", "model": "x", "routing": {}}) == {
        "input": "hi",
        "model": "m",
    }


@pytest.mark.parametrize(
    ("fields", "sayable"),
    [
        ({}, {"chat", "responses", "messages", "completions"}),
        ({"system_prompt": "Be brief."}, {"chat", "responses", "messages"}),
        (
            {"sampling": {"temperature": 0.2, "max_tokens": 9}},
            {"chat", "responses", "messages", "completions"},
        ),
        ({"sampling": {"repetition_penalty": 1.1}}, {"chat", "responses", "completions"}),
        ({"sampling": {"stop": "X"}}, {"chat", "messages", "completions"}),
        ({"sampling": {"response_format": {"type": "json_object"}}}, {"chat"}),
    ],
)
def test_a_dialect_that_cannot_say_what_the_registry_adds_is_translated(
    fields: dict[str, Any], sayable: set[str]
) -> None:
    expert = expert_with(**fields)
    assert {dialect for dialect in FORMS if fits_dialect(expert, dialect)} == sayable


@pytest.mark.parametrize(
    ("system", "sent"),
    [
        ("Speak French.", "Be brief.\n\nSpeak French."),
        (
            [{"type": "text", "text": "Speak French."}],
            [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Speak French."}],
        ),
    ],
)
def test_a_system_prompt_stands_before_the_clients_own(system: Any, sent: Any) -> None:
    expert = expert_with(system_prompt="Be brief.")
    body = native_body(expert, {"messages": [], "system": system}, "messages", stream=False)
    assert body["system"] == sent
