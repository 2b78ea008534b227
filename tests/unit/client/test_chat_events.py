"""A streamed answer as the client reads it, however its bytes are cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.usage import TokenUsage
from client import ApiBadReply, ApiRefused, ApiTimeout, ChatEvent, Decided, Delta, Ended
from client.chat import ChatEventReader

STREAM = (
    'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}], '
    '"routing": {"id": "d1", "expert": "coder"}}\n\n'
    'data: {"choices": [{"delta": {"reasoning_content": "Hm."}}], "routing": null}\r\n\r\n'
    'data: {"choices": [{"delta": {"content": "Grüße, 世界"}}]}\r\n\r\n'
    ": a comment\n\n"
    'data: {"choices": [{"delta": {"content": " and on"}, "finish_reason": "stop"}]}\n\n'
    'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 12}}\n\n'
    "data: [DONE]\n\n"
).encode()


def read(*pieces: bytes) -> list[ChatEvent]:
    reader = ChatEventReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    return [*events, *reader.close()]


def event(document: str) -> bytes:
    return f"data: {document}\n\n".encode()


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=12))
def test_a_stream_means_the_same_however_it_is_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(set(cuts)), len(STREAM)]
    decided, *others = read(*(STREAM[start:end] for start, end in pairwise(edges)))
    assert isinstance(decided, Decided)
    assert (decided.decision.id, decided.decision.expert) == ("d1", "coder")
    assert others == [
        Delta(thinking="Hm."),
        Delta("Grüße, 世界"),
        Delta(" and on"),
        Ended("stop", TokenUsage(9, 12)),
    ]


def test_an_answer_that_has_said_why_it_stops_needs_no_done() -> None:
    assert read(event('{"choices": [{"delta": {}, "finish_reason": "length"}]}')) == [Ended("length")]


@pytest.mark.parametrize("nothing", [b"data: null\n\n", b"data:\n\n", b"event: ping\ndata: {}\n\n"])
def test_events_that_hold_nothing_are_passed_over(nothing: bytes) -> None:
    answer = event('{"choices": [{"delta": {}, "finish_reason": "stop"}]}')
    assert read(nothing, answer, nothing) == [Ended("stop")]


def test_an_answer_that_ends_before_it_is_done_has_broken_off() -> None:
    with pytest.raises(ApiTimeout, match="before its end"):
        read(event('{"choices": [{"delta": {"content": "So"}}]}'))


def test_an_error_inside_a_stream_is_raised_in_its_own_words() -> None:
    with pytest.raises(ApiRefused, match="Gone") as caught:
        read(event('{"error": {"message": "Gone", "code": "expert_timeout"}}'))
    assert caught.value.code == "expert_timeout"
    assert caught.value.status is None
    with pytest.raises(ApiRefused, match="Gone") as caught:
        read(event('{"error": {"message": "Gone", "code": null}}'))
    assert caught.value.code == "api_error"


@pytest.mark.parametrize(
    "stream",
    [
        event("{rubbish"),
        event("[1]"),
        event('{"routing": {"expert": 3}}'),
        event('{"choices": [{"delta": {"content": [1]}}]}'),
        b"data: " + b"x" * 5_000_000,
    ],
    ids=["no JSON", "no object", "no decision", "no text", "an endless line"],
)
def test_a_malformed_stream_is_a_bad_reply(stream: bytes) -> None:
    with pytest.raises(ApiBadReply):
        read(stream)


def test_tool_calls_are_passed_on_as_they_come() -> None:
    delta, _ = read(
        event('{"choices": [{"delta": {"tool_calls": [{"index": 0}]}, "finish_reason": "tool_calls"}]}')
    )
    assert isinstance(delta, Delta)
    assert delta.raw["tool_calls"] == [{"index": 0}]
