"""Events of an answer's stream, as they go to clients. Knows no dialect."""

from collections.abc import Iterable
from typing import Any

from base.json_documents import json_bytes


class StreamEvent:
    """One server-sent event: its bytes, and the document that they hold (`chunk`). Comments have none, nor
    has the end of a chat completion (`data: [DONE]`). `event` is its type, where the dialect names one;
    `done` marks the last event of an answer."""

    __slots__ = ("_raw", "chunk", "done", "event")

    def __init__(
        self,
        raw: bytes | None,
        chunk: dict[str, Any] | None = None,
        done: bool = False,
        event: str | None = None,
    ) -> None:
        """`raw` None: made of `chunk`, which is not changed any more, when somebody asks for it."""
        self._raw = raw
        self.chunk = chunk
        self.done = done
        self.event = event

    @property
    def raw(self) -> bytes:
        if self._raw is None:
            name = b"" if self.event is None else f"event: {self.event}\n".encode()
            self._raw = name + b"data: " + json_bytes(self.chunk) + b"\n\n"
        return self._raw

    @classmethod
    def of(cls, chunk: dict[str, Any], event: str | None = None, *, done: bool = False) -> "StreamEvent":
        """An event of our own."""
        return cls(None, chunk, done, event)

    @classmethod
    def comment(cls, text: bytes) -> "StreamEvent":
        """A comment, which keeps the connection alive; readers ignore it."""
        return cls(b": " + text.replace(b"\n", b" ") + b"\n\n")


END_OF_STREAM = StreamEvent(b"data: [DONE]\n\n", done=True)
"""The end of a chat completion's stream."""


def raw_bytes(events: Iterable[StreamEvent]) -> bytes:
    """The events' bytes, joined."""
    return b"".join(event.raw for event in events)
