"""Streams from experts, as servers and the proxies before them send them."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.errors import (
    ContextTooLong,
    ExpertBadReply,
    ExpertBusy,
    ExpertError,
    ExpertRejected,
    ExpertTimeout,
    ExpertUnavailable,
    NotStreamed,
)
from experts.expert import Expert, Timeouts
from experts.expert_replies import TRAILER_S, ReplyStream, StreamEvent, raw_bytes

EXPERT = Expert(name="a", endpoint="http://h/v1", model="m", params_b=1, context_length=8)
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


def chunk(text: str = "", finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": {"content": text}, "finish_reason": finish}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **more,
    }


def event(document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


HEL, LO = event(chunk("Hel")), event(chunk("lo", "stop"))


async def pieces(source: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in source:
        yield piece


def stream_of(source: AsyncIterator[bytes]) -> ReplyStream:
    return ReplyStream(EXPERT, source, headers={}, deadline=time.monotonic() + 10, max_event_bytes=1000)


async def read(*source: bytes) -> tuple[ReplyStream, list[StreamEvent]]:
    """The stream and its events, once it has ended. Raises what the stream raises."""
    stream = stream_of(pieces(source))
    await stream.begin(5)
    return stream, [event async for batch in stream for event in batch]


def text_of(events: Iterable[StreamEvent], index: int = 0) -> str:
    choices = [choice for event in events if event.chunk is not None for choice in event.chunk["choices"]]
    return "".join(each["delta"].get("content") or "" for each in choices if each["index"] == index)


WHOLE = {
    "plain": HEL + LO + DONE,
    "choices null": HEL + LO + event({**chunk(), "choices": None, "usage": USAGE}) + DONE,
    "choices missing": HEL + LO + event({"id": "c", "usage": USAGE}) + DONE,
    "choices empty first": event({**chunk(), "choices": [], "id": "", "model": ""}) + HEL + LO + DONE,
    "data null": HEL + event(None) + LO + DONE,
    "data empty": HEL + b"data:\n\n" + LO + DONE,
    "data blank": HEL + b"data:   \n\n" + LO + DONE,
    "no data": HEL + b"id: 7\nretry: 10\n\n" + LO + DONE,
    "ping": HEL + b'event: ping\ndata: {"type": "ping"}\n\n' + LO + DONE,
    "ping that is not JSON": HEL + b"event: ping\ndata: now\n\n" + LO + DONE,
    "ping without a name": HEL + event({"type": "ping"}) + LO + DONE,
    "foreign event": HEL + b'event: tool.progress\ndata: {"step": 1}\n\n' + LO + DONE,
    "named events": b"event: message\n" + HEL + b"event: completion\n" + LO + DONE,
    "comments": b": waiting\n\n" + HEL + b":\n\n:\n" + LO + DONE,
    "CRLF": (HEL + LO + DONE).replace(b"\n", b"\r\n"),
    "CR": (HEL + LO + DONE).replace(b"\n", b"\r"),
    "byte order mark": b"\xef\xbb\xbf" + HEL + LO + DONE,
    "no space after the colon": (HEL + LO + DONE).replace(b"data: ", b"data:"),
    "no DONE": HEL + LO,
    "no DONE, usage last": HEL + LO + event({**chunk(), "choices": [], "usage": USAGE}),
    "no last blank line": HEL + LO + b"data: [DONE]",
    "no last blank line, no DONE": HEL + LO.rstrip(),
    "cut in the usage": HEL + LO + event({**chunk(), "choices": [], "usage": USAGE})[:-20],
    "more after DONE": HEL + LO + DONE + b"data: <html>\n\n",
    "empty reasons": event(chunk("Hel", "")) + event(chunk("lo", "stop")) + DONE,
    "DONE without any reason": HEL + event(chunk("lo", "")) + DONE,
    "delta null at the end": event(chunk("Hello"))
    + event({**chunk(), "choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]})
    + DONE,
    "text in a delta's place": event({**chunk(), "choices": [{"index": 0, "text": "Hel"}]}) + LO + DONE,
    "choices an empty object": HEL + event({**chunk(), "choices": {}}) + LO + DONE,
    "no index, no reason": event({**chunk(), "choices": [{"delta": {"content": "Hel"}}]}) + LO + DONE,
    "messages instead of deltas": event(
        {**chunk(), "choices": [{"index": 0, "message": {"content": "Hel"}, "finish_reason": None}]}
    )
    + LO
    + DONE,
    "error null": event(chunk("Hel", error=None)) + LO + DONE,
    "an error object of nulls": event(chunk("Hel", error={"code": None, "message": ""})) + LO + DONE,
    "broken UTF-8": event(chunk("Hel")).replace(b'"created"', b'"\xe6\x9d": 1, "created"') + LO + DONE,
    "NaN": event(chunk("Hel")).replace(b'"finish_reason": null', b'"finish_reason": null, "score": NaN')
    + LO
    + DONE,
    "a choice after its end": HEL + LO + event(chunk("", None, usage=USAGE)) + DONE,
}


@pytest.mark.parametrize("source", WHOLE.values(), ids=WHOLE)
async def test_an_answer_that_is_whole_ends_as_one(source: bytes) -> None:
    stream, events = await read(source)
    assert text_of(events) == "Hello"
    assert events[-1].done
    assert raw_bytes(events).endswith(DONE)
    assert stream.done
    for each in events:
        assert each.raw.endswith(b"\n\n")
        assert b"\r" not in each.raw
        if each.chunk is not None:
            assert isinstance(each.chunk["choices"], list)
            assert each.chunk["model"] == "a"
            assert each.chunk["id"]
            assert all(choice["finish_reason"] != "" for choice in each.chunk["choices"])
    assert stream.usage == (USAGE if b"total_tokens" in source and b"2}}\n" in source else None)


@given(st.sampled_from(sorted(WHOLE)), st.data())
async def test_the_pieces_that_a_stream_comes_in_change_nothing(name: str, data: st.DataObject) -> None:
    source = WHOLE[name]
    places = data.draw(st.lists(st.integers(0, len(source)), max_size=12).map(sorted))
    cut = [source[start:end] for start, end in itertools.pairwise([0, *places, len(source)])]
    _, events = await read(*cut)
    assert text_of(events) == "Hello"
    assert events[-1].done


BROKEN = {
    "cut": HEL,
    "cut with empty reasons": event(chunk("Hel", "")) + event(chunk("lo wor", "")),
    "cut in an event": HEL + LO[:-30],
    "cut before one choice ended": event(chunk("Hel"))
    + event(chunk("Hi", index=1))
    + event(chunk("lo", "stop")),
    "DONE before one choice ended": event(chunk("Hel"))
    + event(chunk("Hi", index=1))
    + event(chunk("lo", "stop"))
    + DONE,
    "error object": HEL + event({"error": {"message": "overloaded", "code": 500}}),
    "error string": HEL + event({"error": "overloaded"}),
    "error list": HEL + event([{"error": {"message": "overloaded"}}]),
    "error event": HEL + b"event: error\ndata: overloaded\n\n",
    "error event without a reason": HEL + b"event: error\ndata: {}\n\n",
    "error beside choices": HEL + event(chunk("", "error", error={"code": 502, "message": "gone"})),
    "error in a choice": HEL
    + event({**chunk(), "choices": [{"index": 0, "delta": {}, "error": {"message": "gone"}}]}),
    "reason error": HEL + event(chunk("", "error")) + DONE,
    "reason abort": HEL + event(chunk("", "abort")) + DONE,
    "HTML": HEL + b"data: <html>Bad gateway</html>\n\n",
    "a number": HEL + b"data: 1\n\n",
    "choices that are none": HEL + event({**chunk(), "choices": {"index": 0}}),
}


@pytest.mark.parametrize("source", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("piece", ["at once", "by event"])
async def test_an_answer_that_breaks_ends_in_an_error_after_what_came(source: bytes, piece: str) -> None:
    cut = [source] if piece == "at once" else [part + b"\n\n" for part in source.split(b"\n\n") if part]
    if piece == "by event" and not source.endswith(b"\n\n"):
        cut[-1] = cut[-1].removesuffix(b"\n\n")
    stream = stream_of(pieces(cut))
    await stream.begin(5)
    events: list[StreamEvent] = []
    with pytest.raises(ExpertBadReply):
        async for batch in stream:
            events += batch
    assert text_of(events).startswith("Hel")
    assert not any(event.done for event in events)


ROLE = event({**chunk(), "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
REFUSED: dict[str, tuple[bytes, type[ExpertError]]] = {
    "empty body": (b"", ExpertBadReply),
    "DONE alone": (DONE, ExpertBadReply),
    "no text": (ROLE + DONE, ExpertBadReply),
    "cut after the role": (ROLE, ExpertBadReply),
    "error after the role": (ROLE + event({"error": "overloaded"}), ExpertUnavailable),
    "pings alone": (b"event: ping\ndata: {}\n\n" * 3, ExpertBadReply),
    "error string": (event({"error": "overloaded"}), ExpertUnavailable),
    "error object": (event({"error": {"message": "overloaded"}}), ExpertUnavailable),
    "error with a code in digits": (event({"error": {"message": "slow", "code": "429"}}), ExpertBusy),
    "error of a known type": (
        event({"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}),
        ExpertBusy,
    ),
    "error list": (event([{"error": {"code": 503, "message": "overloaded"}}]), ExpertUnavailable),
    "complaints": (event({"detail": [{"loc": ["body", "n"], "msg": "too many"}]}), ExpertRejected),
    "old vLLM": (
        event({"object": "error", "message": "maximum context length is 8", "code": 400}),
        ContextTooLong,
    ),
    "error event": (b"event: error\ndata: overloaded\n\n", ExpertUnavailable),
    "JSON body, error": (b'{"error": "overloaded"}', ExpertUnavailable),
    "JSON body, {}": (b"{}", ExpertBadReply),
    "JSON body over several lines": (b'{\n\n  "error": "overloaded"\n\n}\n\n', ExpertUnavailable),
    "JSON body, an answer and blank lines": (
        b'\n\n{"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}\n\n',
        NotStreamed,
    ),
    "HTML body": (b"<html>\n\nSign in</html>\n\n", ExpertBadReply),
    "JSON body, an answer": (
        b'{"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}',
        NotStreamed,
    ),
    "reason error": (event(chunk("", "error")), ExpertUnavailable),
}


@pytest.mark.parametrize(("source", "error"), REFUSED.values(), ids=REFUSED)
async def test_what_fails_before_the_first_text_is_raised_before_it(
    source: bytes, error: type[ExpertError]
) -> None:
    with pytest.raises(error) as caught:
        await stream_of(pieces([source])).begin(5)
    assert type(caught.value) is error
    assert caught.value.replaceable == (error is not ExpertRejected)


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "Hi"},
        {"reasoning_content": "Hm"},
        {"reasoning": "Hm"},
        {"refusal": "No"},
        {
            "tool_calls": [
                {"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": ""}}
            ]
        },
    ],
    ids=lambda delta: next(iter(delta)),
)
async def test_a_stream_begins_with_whatever_an_expert_says_first(delta: dict[str, Any]) -> None:
    said = event({**chunk(), "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    stream = stream_of(pieces([ROLE, said, LO, DONE]))
    await stream.begin(5)
    assert [event.chunk["choices"][0]["delta"] for event in await anext(stream) if event.chunk] == [
        {"role": "assistant", "content": ""},
        delta,
    ]


async def test_several_choices_may_end_apart() -> None:
    _, events = await read(
        event(chunk("one")),
        event(chunk("two", index=1)),
        event(chunk("", "stop")),
        event(chunk("!", "length", 1)),
    )
    assert (text_of(events), text_of(events, 1)) == ("one", "two!")
    assert events[-1].done


async def test_usage_is_taken_wherever_it_comes() -> None:
    in_choice = {**chunk(), "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]}
    for last in (chunk("", "stop", usage=USAGE), in_choice, chunk("", "stop", x_groq={"usage": USAGE})):
        stream, _ = await read(HEL, event(last), DONE)
        assert stream.usage == USAGE


async def test_comments_before_the_first_text_are_passed_on_with_it() -> None:
    stream = stream_of(pieces([b": alive!\n\n"] * 50 + [LO]))
    await stream.begin(5)
    first = await anext(stream)
    assert raw_bytes(first[:50]) == b": alive!\n\n" * 50
    assert text_of(first) == "lo"


async def test_comments_without_end_are_no_stream() -> None:
    with pytest.raises(ExpertBadReply, match="no stream of an answer"):
        await stream_of(pieces(itertools.repeat(b": alive!\n\n"))).begin(5)


async def test_a_whole_answer_becomes_a_stream_of_all_its_choices() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    choices = [
        {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "length"},
        {"index": 1, "message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"},
    ]
    stream = await ReplyStream.of_whole(EXPERT, {"id": "c", "choices": choices, "usage": USAGE})
    events = [event async for batch in stream for event in batch]
    assert text_of(events) == "Hello"
    deltas = [choice["delta"] for each in events if each.chunk for choice in each.chunk["choices"]]
    assert {"tool_calls": [{"index": 0, **call}]} in deltas
    assert stream.usage == USAGE
    assert events[-1].done


async def silence(*source: bytes) -> AsyncIterator[bytes]:
    """The pieces, and then nothing for longer than anybody waits."""
    for piece in source:
        yield piece
    await asyncio.Event().wait()


@pytest.mark.parametrize("asked", [1, 2])
async def test_a_whole_answer_is_not_held_up_by_a_server_that_goes_on_saying_nothing(asked: int) -> None:
    """Unless another choice is still to come."""
    timeouts = {"connect_s": 1, "first_byte_s": 1, "idle_s": 0.2, "total_s": 9}
    expert = EXPERT.model_copy(update={"timeouts": Timeouts.model_validate(timeouts)})
    stream = ReplyStream(expert, silence(HEL, LO), headers={}, deadline=time.monotonic() + 9, choices=asked)
    await stream.begin(1)
    if asked == 1:
        events = [event async for batch in stream for event in batch]
        assert events[-1].done
    else:
        with pytest.raises(ExpertTimeout):
            async for _ in stream:
                pass


async def test_heartbeats_do_not_hold_a_whole_answer_up() -> None:
    async def source() -> AsyncIterator[bytes]:
        yield HEL + LO
        while True:
            yield b": still here\n\n"
            await asyncio.sleep(0.3)

    stream = stream_of(source())
    await stream.begin(1)
    started = time.monotonic()
    events = [event async for batch in stream for event in batch]
    assert events[-1].done
    assert time.monotonic() - started < TRAILER_S + 3
