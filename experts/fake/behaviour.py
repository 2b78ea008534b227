"""How a fake expert answers, and what it keeps of the requests. Knows no dialect."""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from experts.fake.chat_requests import last_user_text


class Died(Exception):
    """Raised inside the server to cut a connection in the middle of an answer."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a request is answered; by default with its last user message.

    `stall_after`, `die_after`, `rubbish_after` (a malformed event) and `error_after` (an error object, as
    vLLM sends) count streamed events; without streaming any value takes effect at once.
    """

    reply: str | None = None
    """The text. None: "<name> heard: <last user message>", or a tool call when tools are given."""
    choices: tuple[str, ...] = ()
    """The texts of the choices of one whole chat completion in turn, instead of `reply`."""
    surest: int | None = None
    """The choice whose tokens have the `confidence`; those of the others have its square."""
    most_choices: int | None = None
    """Choices that are given at most, whatever `n` asks for."""
    delay_s: float = 0.0
    """Before the headers."""
    token_delay_s: float = 0.0
    """Before each token."""
    status: int = 200
    """Any other status answers with `error`."""
    error: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers of every response."""
    case: str | None = None
    """A named fault of `experts.fake.FAULTS`."""
    stall_after: int | None = None
    die_after: int | None = None
    rubbish_after: int | None = None
    error_after: int | None = None
    confidence: float | None = 0.9
    """Probability of every token in `logprobs`, 0 < confidence ≤ 1; None: it tells none."""
    finish_reason: str = "stop"
    """In chat's words."""
    tool_steps: int | None = None
    """Calls the first tool until the conversation holds so many results, then answers. None: one call, unless
    the last message is a result."""


Chooser = Callable[[Mapping[str, Any]], Behaviour]
"""Takes the request as a chat request, whatever its dialect."""


@dataclass(slots=True)
class Log:
    """Requests for answers: started = finished + cancelled (the client left early) + in flight."""

    started: int = 0
    finished: int = 0
    cancelled: int = 0
    max_in_flight: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    """As they came, in their own dialect."""
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    counted: int = 0
    """Requests that asked for a count of tokens alone."""

    def note(self, path: str, body: dict[str, Any], headers: Mapping[str, str]) -> None:
        """A request has come."""
        self.paths.append(path)
        self.bodies.append(body)
        self.headers.append(dict(headers))
        self.started += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)

    @property
    def in_flight(self) -> int:
        return self.started - self.finished - self.cancelled

    @property
    def last(self) -> dict[str, Any]:
        """The last body."""
        return self.bodies[-1]

    async def until(self, holds: Callable[["Log"], bool], timeout_s: float = 5.0) -> None:
        """Wait until `holds(log)`. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            while not holds(self):  # noqa: ASYNC110 - the log is written by another thread's loop
                await asyncio.sleep(0.005)


def scripted(answers: Mapping[str, str], default: Behaviour | None = None) -> Chooser:
    """A chooser of fixed answers by last user message."""
    otherwise = default or Behaviour()

    def choose(body: Mapping[str, Any]) -> Behaviour:
        said = last_user_text(body)
        return dataclasses.replace(otherwise, reply=answers[said]) if said in answers else otherwise

    return choose
