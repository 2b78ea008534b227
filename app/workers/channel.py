"""Questions and answers between the parent and one worker, in both directions over one socket.

Frames are JSON documents behind their length. Knows nothing of what is asked.
"""

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import orjson
import structlog

LENGTH_BYTES = 4

Answerer = Callable[[str, Any], Awaitable[Any]]
"""Answers a question (its name, and what it is given) with a JSON document."""

log = structlog.get_logger(__name__)


class ChannelClosed(Exception):
    """The process at the other end is gone."""


class QuestionRefused(Exception):
    """The other end has answered with an error; the message is its own."""


class Channel:
    """One end. `run` it as long as the other end is to be heard."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answerer: Answerer
    ) -> None:
        """`answerer` raises QuestionRefused for what it refuses."""
        self._reader = reader
        self._writer = writer
        self._answerer = answerer
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._closed = False

    @classmethod
    async def open(cls, end: socket.socket, answerer: Answerer) -> "Channel":
        """The channel over a connected socket, which it owns from here on."""
        end.setblocking(False)
        return cls(*await asyncio.open_connection(sock=end), answerer)

    async def ask(self, what: str, given: Any = None) -> Any:
        """The other end's answer. Raises ChannelClosed and QuestionRefused."""
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._send({"ask": number, "what": what, "given": given})
            return await answer
        finally:
            del self._asked[number]

    async def run(self) -> None:
        """Hear the other end until it is gone or `close` is called."""
        try:
            while True:
                length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
                self._hear(orjson.loads(await self._reader.readexactly(length)))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """End it: whoever waits for an answer gets ChannelClosed. Idempotent."""
        self._closed = True
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(ChannelClosed)
        for task in self._answering:
            task.cancel()
        self._writer.close()

    def _hear(self, frame: dict[str, Any]) -> None:
        if "ask" in frame:
            task = asyncio.create_task(self._answer(frame["ask"], frame["what"], frame["given"]))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
            return
        answer = self._asked.get(frame["answer"])
        if answer is None or answer.done():
            return
        if frame["refused"] is None:
            answer.set_result(frame["value"])
        else:
            answer.set_exception(QuestionRefused(frame["refused"]))

    async def _answer(self, number: int, what: str, given: Any) -> None:
        value, refused = None, None
        try:
            value = await self._answerer(what, given)
        except QuestionRefused as error:
            refused = str(error)
        except Exception as error:  # a question must not stay without an answer
            log.error("question_failed", what=what, error=type(error).__name__)
            refused = f"{what} failed: {type(error).__name__}"
        with suppress(ChannelClosed):
            self._send({"answer": number, "value": value, "refused": refused})

    def _send(self, frame: dict[str, Any]) -> None:
        if self._closed or self._writer.is_closing():
            raise ChannelClosed
        data = orjson.dumps(frame)
        self._writer.write(len(data).to_bytes(LENGTH_BYTES, "big") + data)
