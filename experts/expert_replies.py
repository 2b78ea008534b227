"""What comes back from an expert, checked: whole replies, and streams of events.

Knows when events come and when an answer has begun, ended or broken; what they hold is read by the readers of
each form (`experts.chat_replies`).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from base.sse import Event, EventCutter, EventTooLong
from experts.chat_replies import completion_chunks
from experts.errors import ExpertBadReply, ExpertError, ExpertTimeout, NotStreamed
from experts.event_reader import DONE, EventReader, read_json
from experts.expert import DialectName, Expert, Selection
from experts.patience import Patience
from experts.reply_forms import FORMS
from experts.stream_events import END_OF_STREAM, StreamEvent, raw_bytes

__all__ = [
    "END_OF_STREAM",
    "ExpertReply",
    "ReplicaUse",
    "ReplyStream",
    "SampleUse",
    "StreamEvent",
    "raw_bytes",
]

DRAIN_S = 0.05
"""How long a finished stream waits for its connection's end; past it the connection is closed instead."""
TRAILER_S = 2.0
"""How long the usage and the end of a stream are waited for once the answer is whole."""


@dataclass(frozen=True, slots=True)
class SampleUse:
    """The samples behind one answer. `asked`: as the registry says; `answered`: those that came. `selected`:
    how the answer was taken from them. `agreed`: share (0..1) of those that came with its final answer; None
    where it has none."""

    asked: int
    answered: int
    selected: Selection
    agreed: float | None


@dataclass(frozen=True, slots=True)
class ReplicaUse:
    """The replica that answered: `id` stays when the registry's order changes, `number` counts from 1 there,
    `of` so many. `tried`: numbers of those that failed before, with the error's code; `hedged`: two were
    asked at once."""

    id: str
    number: int
    of: int
    tried: tuple[tuple[int, str], ...] = ()
    hedged: bool = False

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        tried = [{"number": number, "error": code} for number, code in self.tried]
        return {"id": self.id, "number": self.number, "of": self.of, "tried": tried, "hedged": self.hedged}


@dataclass(frozen=True, slots=True)
class ExpertReply:
    """A whole answer. `headers` are the expert's, names in lower case."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]
    usage: dict[str, Any] | None = None
    """What the server counted, in chat's form."""
    samples: SampleUse | None = None
    """The samples that it was taken from, where there were several."""
    replica: ReplicaUse | None = None
    """None where the expert has one server."""


class ReplyStream:
    """A streamed answer: an async iterator of events in the one form that its `EventReader` gives them.

    Each item is one or more events, as soon as they are complete. The iterator raises `ExpertTimeout` after
    `idle_s` of silence or past `total_s`, and `ExpertBadReply` when the stream is malformed or ends half way.
    `usage`, `finish_reason` and `model` are what the events have said so far; `done` after the last one.
    """

    def __init__(
        self,
        expert: Expert,
        source: AsyncIterator[bytes],
        *,
        headers: Mapping[str, str],
        deadline: float,
        max_event_bytes: int = 4 * 2**20,
        secret: SecretStr | None = None,
        dialect: DialectName = "chat",
        choices: int = 1,
    ) -> None:
        """`source` yields bytes and may raise `ExpertError`; `deadline` is on `time.monotonic()`'s clock;
        `max_event_bytes` bounds each event, and all that comes before the first text; `choices` were asked
        for."""
        self.headers = headers
        self.samples: SampleUse | None = None
        """The samples that it was taken from, where there were several."""
        self.replica: ReplicaUse | None = None
        """The replica that answers; None where the expert has one server."""
        self.failed: ExpertError | None = None
        """What broke it off after its beginning."""
        self._expert = expert
        self._source = source
        self._deadline = deadline
        self._secret = secret
        self._max_event_bytes = max_event_bytes
        self._cutter = EventCutter(max_event_bytes)
        self._dialect: DialectName = dialect
        self._reader: EventReader = FORMS[dialect].reader(expert, secret)
        self._choices = choices
        self._unread = bytearray()
        """What came before the first text and was no event: perhaps a body that is no stream."""
        self._fed = 0
        """Bytes that came so far."""
        self._patience = Patience()
        self._first: list[StreamEvent] | None = None
        self._broken: ExpertError | None = None
        self._trailer_until: float | None = None

    @classmethod
    async def of_whole(cls, expert: Expert, completion: Mapping[str, Any]) -> "ReplyStream":
        """A whole answer as a stream that has begun."""

        async def source() -> AsyncIterator[bytes]:
            yield raw_bytes([*map(StreamEvent.of, completion_chunks(completion)), END_OF_STREAM])

        stream = cls(expert, source(), headers={}, deadline=time.monotonic() + expert.timeouts.total_s)
        await stream.begin(expert.timeouts.first_byte_s)
        return stream

    @property
    def usage(self) -> dict[str, Any] | None:
        return self._reader.usage

    @property
    def finish_reason(self) -> str | None:
        return self._reader.finish_reason

    @property
    def model(self) -> str | None:
        """What the server calls its model."""
        return self._reader.model

    @property
    def done(self) -> bool:
        return self._reader.ended

    async def begin(self, within_s: float) -> None:
        """Wait for the first text (or call, or reasoning) or an end, so that a failure before it can still be
        answered with a status, or by another expert. Raises `ExpertTimeout`, `ExpertUnavailable`,
        `ExpertBadReply`, `NotStreamed`, and what an error event stands for."""
        until = min(self._deadline, time.monotonic() + within_s)
        held: list[StreamEvent] = []
        while not self._reader.begun and not self.done:
            events = await self._next_events(until, f"sent no first byte in {within_s:g} s")
            held += events
            if self._fed > self._max_event_bytes:
                raise self._malformed()
        if not self._reader.begun:
            raise self._empty()
        self._first = held

    def __aiter__(self) -> "ReplyStream":
        return self

    async def __anext__(self) -> list[StreamEvent]:
        try:
            return await self._following()
        except ExpertError as error:
            self.failed = error
            raise

    async def _following(self) -> list[StreamEvent]:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        while not self.done:
            idle_s = self._expert.timeouts.idle_s
            until = min(self._deadline, time.monotonic() + idle_s)
            if events := await self._next_events(
                until, f"stalled in the middle of its answer for {idle_s:g} s"
            ):
                return events
        await self._drain()
        raise StopAsyncIteration

    async def _next_events(self, until: float, silence: str) -> list[StreamEvent]:
        """The events that the next piece of the source completes; may be none."""
        if self._broken is not None:
            raise self._broken
        name = self._expert.name
        # Nobody asked for more than has ended: what is still to come does not belong to the answer.
        whole = self._reader.whole and self._reader.finished >= self._choices
        if whole:
            # Set once: heartbeats go on for as long as a server keeps the connection open.
            self._trailer_until = self._trailer_until or time.monotonic() + TRAILER_S
            until = min(until, self._trailer_until)
        try:
            with self._patience.until(until):
                chunk = await anext(self._source, None)
        except TimeoutError:
            if whole:
                return self._reader.end()
            if until >= self._deadline:
                silence = f"did not finish in {self._expert.timeouts.total_s:g} s"
            raise ExpertTimeout(name, f"Expert {name} {silence}.") from None
        except ExpertError:
            if whole:
                return self._reader.end()
            raise
        if chunk is None:
            return self._ending()
        self._fed += len(chunk)
        try:
            return self._read(self._cutter.feed(chunk))
        except EventTooLong as error:
            raise self._malformed() from error

    def _read(self, events: list[Event]) -> list[StreamEvent]:
        """The good events, up to the last one of the answer. What is wrong with a later one is kept until
        they have been passed on."""
        good: list[StreamEvent] = []
        for event in events:
            if event.data is None and event.comment is None and not self._reader.begun:
                self._unread += event.raw
            try:
                read = self._reader.read(event)
            except ExpertError as error:
                if not good:
                    raise
                self._broken = error
                break
            if read is not None:
                good.append(read)
            if self.done:
                break
        return good

    def _ending(self) -> list[StreamEvent]:
        """What to pass on at the end of the source, whose last event may lack its blank line."""
        rest = self._cutter.rest()
        if rest is not None:
            self._unread += rest.raw
        if not self._reader.begun and self._unread.strip():
            self._refuse_whole(self._unread)
        last = self._reader.read(rest) if rest is not None and _is_complete(rest) else None
        found = [] if last is None else [last]
        if not self._reader.begun:
            raise self._empty()
        return found if self.done else [*found, *self._reader.end()]

    def _refuse_whole(self, body: bytearray) -> None:
        """Raises what a body that is no stream stands for: an error, or a whole answer (`NotStreamed`)."""
        try:
            document = read_json(body)
        except (ValueError, RecursionError):
            return
        answer = FORMS[self._dialect].check(self._expert, document, self._secret)
        if self._dialect != "chat":
            raise self._malformed()
        raise NotStreamed(self._expert.name, answer)

    def close(self) -> None:
        """Nothing more is waited for. Idempotent."""
        self._patience.close()

    async def _drain(self) -> None:
        """Read what follows the answer, normally just the end, so that the connection can be used again."""
        self.close()
        with contextlib.suppress(TimeoutError, ExpertError):
            async with asyncio.timeout(DRAIN_S):
                async for _ in self._source:
                    pass

    def _empty(self) -> ExpertBadReply:
        return ExpertBadReply(self._expert.name, f"Expert {self._expert.name} sent an empty stream.")

    def _malformed(self) -> ExpertBadReply:
        name = self._expert.name
        return ExpertBadReply(name, f"Expert {name} sent something that is no stream of an answer.")


def _is_complete(rest: Event) -> bool:
    """Whether the last event, which no blank line ends, came whole all the same."""
    if rest.data is None:
        return False
    try:
        read_json(rest.data)
    except (ValueError, RecursionError):
        return rest.data.strip() == DONE
    return True
