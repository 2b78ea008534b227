"""Streams from experts: what comes before the first event with data has its bound."""

import itertools
import time
from collections.abc import AsyncIterator

import pytest

from experts.errors import ExpertBadReply
from experts.expert import Expert
from experts.expert_replies import ReplyStream, raw_bytes

EXPERT = Expert(name="a", endpoint="http://h/v1", model="m", params_b=1, context_length=8)
FIRST = b'data: {"choices": []}\n\n'


async def comments(many: int | None = None) -> AsyncIterator[bytes]:
    """So many comments of ten bytes, then an event; without end when `many` is None."""
    for _ in itertools.count() if many is None else range(many):
        yield b": alive!\n\n"
    yield FIRST


def stream_of(source: AsyncIterator[bytes]) -> ReplyStream:
    return ReplyStream(EXPERT, source, headers={}, deadline=time.monotonic() + 10, max_event_bytes=1000)


async def test_comments_before_the_first_event_are_passed_on_with_it() -> None:
    stream = stream_of(comments(50))
    await stream.begin(5)
    assert raw_bytes(await anext(stream)) == b": alive!\n\n" * 50 + FIRST


async def test_comments_without_end_are_no_stream() -> None:
    with pytest.raises(ExpertBadReply, match="no chat completion stream"):
        await stream_of(comments()).begin(5)


async def test_every_event_brings_its_chunk_and_the_last_one_ends_the_stream() -> None:
    async def answer() -> AsyncIterator[bytes]:
        yield FIRST + b": alive!\n\n"
        yield b"data: [DONE]\n\n"

    stream = stream_of(answer())
    await stream.begin(5)
    events = [event async for batch in stream for event in batch]
    assert [event.chunk for event in events] == [{"choices": []}, None, None]
    assert [event.done for event in events] == [False, False, True]
