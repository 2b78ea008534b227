"""Server-sent events cut out of a byte stream, whatever the chunks it arrives in.

Works on bytes and gives back the very bytes it was fed, whole events at a time, so that its readers never
see half an event. Knows nothing of chat completions.
The format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import re
from typing import NamedTuple

# Two line ends in a row. A lone CR ends a line too, but the CR of a CRLF does not end another.
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_LONGEST_BLANK_LINE = 4
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventTooLong(ValueError):
    """An event grew past the bound without ending: this is no event stream."""


class Event(NamedTuple):
    """One event as it came. `data` is its payload, None where there is none or an empty one: such events are
    not dispatched. `name` is its type (`event:`), `comment` the text of its comment lines."""

    raw: bytes
    data: bytes | None
    name: str | None = None
    comment: bytes | None = None


class EventCutter:
    """Feed it chunks; it returns the events that they complete.

    The `raw` bytes of all events and of `rest()` are, joined, the bytes that were fed.
    """

    def __init__(self, max_event_bytes: int = 4 * 2**20) -> None:
        self._max_event_bytes = max_event_bytes
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes, in order. Raises `EventTooLong`."""
        self._buffer += chunk
        events: list[Event] = []
        start, search = 0, self._searched
        while (end := _BLANK_LINE.search(self._buffer, search)) is not None:
            raw = bytes(self._buffer[start : end.end()])
            self._refuse_long(len(raw))
            events.append(_event(raw))
            start = search = end.end()
        if start:
            del self._buffer[:start]
        self._refuse_long(len(self._buffer))
        # A blank line may be cut by the chunk's end: look at its last bytes again next time.
        self._searched = max(0, len(self._buffer) - _LONGEST_BLANK_LINE)
        return events

    def _refuse_long(self, length: int) -> None:
        if length > self._max_event_bytes:
            raise EventTooLong(f"an event is longer than {self._max_event_bytes} bytes")

    def rest(self) -> Event | None:
        """What is left when the stream has ended without a last blank line; None when nothing is."""
        raw, self._buffer, self._searched = bytes(self._buffer), bytearray(), 0
        return _event(raw) if raw else None


def _event(raw: bytes) -> Event:
    if raw.startswith(b"data: ") and raw.find(b"\n") == len(raw) - 2 and b"\r" not in raw:
        return Event(raw, raw[6:-2] or None)  # most are one line of data
    fields: dict[bytes, list[bytes]] = {}
    for line in _LINE_END.split(raw.removeprefix(_BYTE_ORDER_MARK)):
        name, _, value = line.partition(b":")
        if line:
            fields.setdefault(name, []).append(value.removeprefix(b" "))
    data = b"\n".join(fields.get(b"data", ()))
    names, comments = fields.get(b"event"), fields.get(b"")
    return Event(
        raw,
        data or None,
        names[-1].decode("utf-8", "replace") or None if names else None,
        b" ".join(comments) if comments else None,
    )
