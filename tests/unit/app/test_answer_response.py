"""The decision in the first event, everything else byte for byte."""

import json

from hypothesis import given
from hypothesis import strategies as st

from app.api.answer_response import with_routing
from base.sse import EventCutter
from experts.expert_replies import StreamEvent

ROUTING = {"id": "dec_1", "expert": "größer"}

ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
comments = st.sampled_from([b": ping", b"event: x", b"id: 7"])
chunks = st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers(), max_size=3)


@st.composite
def events(draw: st.DrawFn, *, with_data: bool) -> bytes:
    end = draw(ends)
    lines = draw(st.lists(comments, min_size=0 if with_data else 1, max_size=2))
    if with_data:
        lines.append(b"data: " + json.dumps({"choices": [], **draw(chunks)}).encode())
    return end.join(lines) + end + end


@given(
    before=st.lists(events(with_data=False), max_size=2),
    first=events(with_data=True),
    after=st.lists(events(with_data=True) | events(with_data=False), max_size=3),
)
def test_only_the_first_event_with_data_changes(
    before: list[bytes], first: bytes, after: list[bytes]
) -> None:
    out = with_routing(parsed(b"".join([*before, first, *after])), ROUTING)
    assert out.startswith(b"".join(before))
    assert out.endswith(b"".join(after))
    changed = out[len(b"".join(before)) : len(out) - len(b"".join(after))]
    document = data_of(changed)
    assert document.pop("routing") == ROUTING
    expected = data_of(first)
    expected.pop("routing", None)
    assert document == expected


def test_fields_beside_the_data_are_kept() -> None:
    out = with_routing(parsed(b'event: chunk\nid: 3\ndata: {"choices": []}\n\n'), ROUTING)
    assert out.startswith(b"event: chunk\nid: 3\ndata: {")


def parsed(stream: bytes) -> list[StreamEvent]:
    return [
        StreamEvent(event.raw, None if event.data is None else json.loads(event.data))
        for event in EventCutter().feed(stream)
    ]


def data_of(event: bytes) -> dict[str, object]:
    (cut,) = EventCutter().feed(event)
    document: dict[str, object] = json.loads(cut.data or b"")
    return document
