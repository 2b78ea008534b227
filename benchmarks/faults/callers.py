"""Clients of the service, and what each of their requests saw. All of them stream."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

IN_FLIGHT = 8
PATIENCE_S = 20.0
"""A client that has seen no end after this time has lost its request."""
PAUSE_S = 0.02
"""Between a request that failed and the next one of the same caller."""
BROKEN, REFUSED = "connection broken", "connection refused"


@dataclass(slots=True)
class Seen:
    """One request, as its client saw it. Times are those of `time.perf_counter`; `first` is when its first
    text came. `error`: a code, of the body or of the stream (`in_stream`), or how the connection failed."""

    sent: float = 0.0
    first: float = 0.0
    status: int = 0
    text: str = ""
    finished: bool = False
    whole: bool = False
    error: str | None = None
    in_stream: bool = False
    expert: str = ""
    decision: str | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def server(self) -> str:
        """The fake expert that answered: it says its name first."""
        return self.text.partition(" heard:")[0]

    @property
    def outcome(self) -> str:
        if self.whole:
            return "whole"
        if self.error is None:
            return "LOST"
        if self.error in (BROKEN, REFUSED):
            return self.error
        return f"`{self.error}` in the stream" if self.in_stream else f"{self.status} `{self.error}`"


class Callers:
    """`IN_FLIGHT` clients of the service at `url`."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.url = url
        self._session = session
        self._numbers = itertools.count()

    async def burst(self, model: str, **fields: Any) -> list[Seen]:
        """A request of each client at once, to their ends."""
        return list(await asyncio.gather(*(self.ask(model, **fields) for _ in range(IN_FLIGHT))))

    async def streams(self, model: str, **fields: Any) -> "tuple[list[Seen], asyncio.Future[list[Seen]]]":
        """A stream of two seconds of each client, when the first text of all has come, and what waits for
        their ends. Raises SystemExit when one ends before."""
        seen = [Seen() for _ in range(IN_FLIGHT)]
        ends = asyncio.gather(*(self.ask(model, 40, 0.04, seen=each, **fields) for each in seen))
        begun = asyncio.gather(*(each.begun.wait() for each in seen))
        either: list[asyncio.Future[Any]] = [begun, ends]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not begun.done():
            raise SystemExit(f"streams ended before a fault: {', '.join(each.outcome for each in seen)}")
        return seen, ends

    async def keep_asking(self, model: str, stop: asyncio.Event, **fields: Any) -> list[Seen]:
        """Requests of each client, one after the other, until `stop`."""
        found: list[Seen] = []

        async def client() -> None:
            while not stop.is_set():
                found.append(await self.ask(model, **fields))
                if not found[-1].whole:
                    await asyncio.sleep(PAUSE_S)

        await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))
        return found

    async def ask(
        self, model: str, words: int = 5, word_s: float = 0.0, *, seen: Seen | None = None, **fields: Any
    ) -> Seen:
        """A request for an answer of `words`, `word_s` seconds each, to its end; fills `seen` meanwhile."""
        seen = Seen() if seen is None else seen
        text = " ".join(["word"] * words)
        body = {
            "model": model,
            # Each is another prompt, and none is the beginning of another one.
            "messages": [{"role": "user", "content": f"Number {next(self._numbers)}: {text}"}],
            "stream": True,
            "fake": {"token_delay_s": word_s},
            **fields,
        }
        seen.sent = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_S):
                async with self._session.post(f"{self.url}/v1/chat/completions", json=body) as response:
                    await _read(response, seen)
        except TimeoutError:
            pass  # lost: it has no error
        except aiohttp.ClientConnectorError:
            seen.error = REFUSED
        except (aiohttp.ClientError, OSError):
            seen.error = BROKEN
        return seen

    async def status(self, path: str) -> int:
        """Of a GET; 0 when nobody answers."""
        try:
            async with self._session.get(self.url + path) as response:
                return response.status
        except (aiohttp.ClientError, OSError):
            return 0

    async def missing(self, seen: list[Seen]) -> int:
        """How many of the whole answers have no decision in the database."""
        statuses = [await self.status(f"/v1/decisions/{each.decision}") for each in seen if each.whole]
        if unexpected := set(statuses) - {200, 404}:
            raise SystemExit(f"the service answered {unexpected} when it was asked for decisions")
        return statuses.count(404)


@asynccontextmanager
async def calling(url: str) -> AsyncIterator[Callers]:
    """Clients of the service at `url`, with connections of their own."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield Callers(session, url)


async def _read(response: aiohttp.ClientResponse, seen: Seen) -> None:
    seen.status = response.status
    seen.decision = response.headers.get("x-coterie-decision")
    seen.expert = response.headers.get("x-coterie-expert", "")
    if response.status != 200:
        seen.error = (await response.json())["error"]["code"]
        return
    async for line in response.content:
        if not line.startswith(b"data: "):
            continue
        data = line.removeprefix(b"data: ").strip()
        if data == b"[DONE]":
            seen.whole = seen.finished and seen.error is None
            continue
        document = json.loads(data)
        if "error" in document:
            seen.error, seen.in_stream = document["error"]["code"], True
            continue
        for choice in document["choices"]:
            if text := choice["delta"].get("content"):
                if not seen.text:
                    seen.first = time.perf_counter()
                    seen.begun.set()
                seen.text += text
            seen.finished = seen.finished or choice.get("finish_reason") is not None
