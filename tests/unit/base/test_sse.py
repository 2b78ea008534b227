"""Cutting events out of bytes: the same events whatever the chunks."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.sse import EventCutter, EventTooLong

LINES = st.lists(
    st.tuples(
        st.sampled_from([b"data: ", b"data:", b"event: ", b": ", b"id: "]),
        st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=8).map(str.encode),
    ),
    min_size=1,
    max_size=4,
)
STREAMS = st.builds(
    lambda events, end: b"".join(
        b"".join(name + value + end for name, value in lines) + end for lines in events
    ),
    st.lists(LINES, max_size=6),
    st.sampled_from([b"\n", b"\r\n"]),
)


def cut(chunks: list[bytes]) -> tuple[list[bytes | None], bytes]:
    """The data of every event, and all bytes given back."""
    cutter = EventCutter()
    events = [event for chunk in chunks for event in cutter.feed(chunk)]
    rest = cutter.rest()
    given_back = b"".join(event.raw for event in events) + (rest.raw if rest else b"")
    return [event.data for event in events], given_back


@given(STREAMS, st.data())
def test_events_survive_any_chunking(stream: bytes, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=20).map(sorted))
    edges = [0, *places, len(stream)]
    chunks = [stream[start:end] for start, end in itertools.pairwise(edges)]
    whole, _ = cut([stream])
    assert cut(chunks) == (whole, stream)


@given(STREAMS)
def test_events_survive_bytes_coming_one_by_one(stream: bytes) -> None:
    assert cut([bytes([byte]) for byte in stream]) == cut([stream])


@given(st.lists(st.binary(max_size=12), max_size=12))
def test_no_byte_is_lost_or_changed_in_any_rubbish(chunks: list[bytes]) -> None:
    assert cut(chunks)[1] == b"".join(chunks)


def test_data_lines_are_joined_and_names_and_comments_told_apart() -> None:
    events = EventCutter().feed(b": still\n:waiting\n\nevent: x\ndata: one\ndata:two\n\n")
    assert [(event.data, event.name, event.comment) for event in events] == [
        (None, None, b"still waiting"),
        (b"one\ntwo", "x", None),
    ]


@pytest.mark.parametrize("event", [b"data\n\n", b"data:\n\n", b"data: \n\n", b"event: ping\n\n", b"\n\n"])
def test_an_event_without_data_or_with_empty_data_has_none(event: bytes) -> None:
    (found,) = EventCutter().feed(event)
    assert found.data is None


def test_a_byte_order_mark_is_no_part_of_the_first_event() -> None:
    (event,) = EventCutter().feed(b"\xef\xbb\xbfdata: one\r\r")
    assert event.data == b"one"


def test_what_is_left_at_the_end_is_told() -> None:
    cutter = EventCutter()
    assert cutter.feed(b"data: a\n\ndata: b") != []
    rest = cutter.rest()
    assert rest is not None
    assert rest.data == b"b"
    assert cutter.rest() is None


@pytest.mark.parametrize("stream", [b"x" * 101, b"x" * 99 + b"\n\n"])
def test_an_event_past_the_bound_is_refused(stream: bytes) -> None:
    with pytest.raises(EventTooLong):
        EventCutter(max_event_bytes=100).feed(stream)
