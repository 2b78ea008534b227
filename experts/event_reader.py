"""Reads the events of one streamed answer: what every dialect has in common.

Knows heartbeats, errors in any shape and how answers end; what the events of a dialect hold is known by
`experts.chat_replies` and `experts.native_replies`, and when they come by `experts.expert_replies`.
"""

import contextlib
import json
from abc import ABC, abstractmethod
from typing import Any

import orjson
from pydantic import SecretStr

from base.json_documents import LONG_NUMBER
from base.sse import Event
from experts.errors import ExpertBadReply, ExpertError
from experts.expert import Expert
from experts.refusals import error_in, reported_error
from experts.stream_events import StreamEvent

DONE = b"[DONE]"
"""What ends a stream of OpenAI's completions."""
HEARTBEATS = ("ping", "heartbeat", "keepalive", "keep-alive")
"""Types of events that carry nothing."""


_DECODER = json.JSONDecoder(parse_constant=lambda name: None)
"""Made once: `json.loads` with an option makes one for each document."""


def read_json(data: bytes | bytearray) -> Any:
    """A server's JSON. NaN and infinities, which some write and JSON has not, are null; bytes that are no
    UTF-8 become U+FFFD. Raises ValueError, RecursionError."""
    if not LONG_NUMBER.search(data):
        # What it does not take is looked at more patiently.
        with contextlib.suppress(orjson.JSONDecodeError):
            return orjson.loads(data)
    try:
        return _DECODER.decode(data.decode(json.detect_encoding(data), "surrogatepass"))
    except UnicodeDecodeError:
        return _DECODER.decode(data.decode("utf-8", "replace"))


class EventReader(ABC):
    """Of one answer. `usage` (chat's form), `finish_reason` (chat's) and `model` (as the server calls it) are
    what the events have said so far. `begun`: the first text or an end has come; `ended`: no more follows."""

    def __init__(self, expert: Expert, secret: SecretStr | None = None) -> None:
        self.usage: dict[str, Any] | None = None
        self.finish_reason: str | None = None
        self.model: str | None = None
        self.begun = False
        self.ended = False
        self._expert = expert
        self._secret = secret

    @property
    @abstractmethod
    def whole(self) -> bool:
        """Whether the answer is complete, even if nothing more should come."""

    @property
    def finished(self) -> int:
        """Choices that have come to their end."""
        return int(self.whole)

    def read(self, event: Event) -> StreamEvent | None:
        """What goes on to the client, if anything. Raises `ExpertError`."""
        if event.data is None or not (data := event.data.strip()):
            return None if event.comment is None else StreamEvent.comment(event.comment)
        if event.name in HEARTBEATS:
            return self._heartbeat()
        if data == DONE:
            return self._done()
        try:
            document = read_json(data)
        except (ValueError, RecursionError) as error:
            if event.name == "error":
                raise self._failure({"error": data.decode("utf-8", "replace")}) from None
            raise self._malformed() from error
        if event.name == "error" and error_in(document) is None:
            document = {"error": document or "no reason given"}
        if (failed := error_in(document)) is not None:
            raise self._failure(failed)
        if document is None:
            return None
        if not isinstance(document, dict):
            raise self._malformed()
        return self._heartbeat() if document.get("type") in HEARTBEATS else self._to_event(document)

    def end(self) -> list[StreamEvent]:
        """What closes the stream where the server did not close it. Raises `ExpertBadReply` when it was cut
        off before the answer was whole."""
        if not self.whole:
            raise self._cut()
        self.ended = True
        return [self._end_event()]

    @abstractmethod
    def _to_event(self, document: dict[str, Any]) -> StreamEvent | None:
        """An event with data as the client sees it; None when it says nothing of the answer."""

    @abstractmethod
    def _end_event(self) -> StreamEvent:
        """The last event of an answer."""

    def _done(self) -> StreamEvent | None:
        """`[DONE]` came."""
        return self.end()[0]

    def _heartbeat(self) -> StreamEvent | None:
        return None

    def _failure(self, document: Any) -> ExpertError:
        """An error event: before any text it is a refusal like any other, later a broken answer."""
        if not self.begun:
            return reported_error(self._expert, document, self._secret)
        name = self._expert.name
        return ExpertBadReply(name, f"Expert {name} reported a failure in the middle of its answer.")

    def _cut(self) -> ExpertBadReply:
        name = self._expert.name
        return ExpertBadReply(name, f"Expert {name} stopped in the middle of its answer.")

    def _malformed(self) -> ExpertBadReply:
        name = self._expert.name
        return ExpertBadReply(name, f"Expert {name} sent something that is no stream of an answer.")
