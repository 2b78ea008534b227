"""Server-sent events on their way through: the first one is opened to put the decision in, the rest
passes untouched. Relies on `experts.client` for streams of whole, checked events."""

import json
from collections.abc import Mapping
from typing import Any

from app.api.json import write_json
from base.sse import Event, EventCutter

END = b"[DONE]"
DONE = b"data: [DONE]\n\n"


def with_routing(first: bytes, routing: Mapping[str, Any]) -> bytes:
    """The stream's first bytes (whole events) with `routing` in the JSON of the first event that has
    any; everything else byte for byte as it came."""
    cutter = EventCutter()
    events = cutter.feed(first)
    out = []
    pending: Mapping[str, Any] | None = routing
    for event in events:
        if pending is not None and event.data is not None and event.data.strip() != END:
            out.append(_rewritten(event, pending))
            pending = None
        else:
            out.append(event.raw)
    rest = cutter.rest()
    return b"".join(out) + (rest.raw if rest is not None else b"")


def event_bytes(document: Mapping[str, Any]) -> bytes:
    """An event of our own."""
    return b"data: " + write_json(document) + b"\n\n"


def ends_stream(events: bytes) -> bool:
    """Whether whole events end with `data: [DONE]`; the JSON of every other event ends in a brace."""
    return events.rstrip(b"\r\n ").endswith(END)


def _rewritten(event: Event, routing: Mapping[str, Any]) -> bytes:
    document = {**json.loads(event.data or b"{}"), "routing": routing}
    others = [line for line in event.raw.splitlines() if line and not line.startswith(b"data:")]
    return b"\n".join([*others, b"data: " + write_json(document)]) + b"\n\n"
