"""Events of an answer's stream, as they go to clients. Knows no dialect."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One server-sent event: its bytes, and the document that they hold (`chunk`). Comments have none, nor
    has the end of a chat completion (`data: [DONE]`). `event` is its type, where the dialect names one;
    `done` marks the last event of an answer."""

    raw: bytes
    chunk: dict[str, Any] | None = None
    done: bool = False
    event: str | None = None

    @classmethod
    def of(cls, chunk: dict[str, Any], event: str | None = None, *, done: bool = False) -> "StreamEvent":
        """An event of our own. Half a surrogate pair becomes `?`."""
        text = json.dumps(chunk, ensure_ascii=False, separators=(",", ":"))
        name = b"" if event is None else f"event: {event}\n".encode()
        return cls(name + b"data: " + text.encode("utf-8", "replace") + b"\n\n", chunk, done, event)

    @classmethod
    def comment(cls, text: bytes) -> "StreamEvent":
        """A comment, which keeps the connection alive; readers ignore it."""
        return cls(b": " + text.replace(b"\n", b" ") + b"\n\n")


END_OF_STREAM = StreamEvent(b"data: [DONE]\n\n", done=True)
"""The end of a chat completion's stream."""


def raw_bytes(events: Iterable[StreamEvent]) -> bytes:
    """The events' bytes, joined."""
    return b"".join(event.raw for event in events)
