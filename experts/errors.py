"""Errors of experts, each with the HTTP status and code for the API's response.

    ExpertError
    ├── ExpertUnavailable   503 expert_unavailable       refused, DNS, 5xx before any byte, our key refused
    ├── ExpertBusy          429 expert_busy              the server's own queue is full
    │   └── QueueFull                                    or ours
    ├── ExpertTimeout       504 expert_timeout           no first byte in time, or a stall
    ├── ExpertBadReply      502 expert_bad_reply         not JSON, not the shape, broken SSE
    │   └── NotStreamed                                  a whole answer where a stream was asked for
    └── ExpertRejected      4xx (the server's own)       the request itself is wrong
        └── ContextTooLong  400 context_length_exceeded

`message` names expert and failure, without secrets, prompt text or addresses; the server's own message is
only in `ExpertRejected.error`, for the client that sent the request.
"""

from collections.abc import Mapping
from typing import Any


class ExpertError(Exception):
    """Base class. `status` is the HTTP status for the API's response."""

    status: int = 500
    code: str = "expert_error"
    replaceable: bool = True
    """Whether another expert may be asked instead, before the first text."""

    def __init__(
        self, expert: str, message: str, *, status: int | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.expert = expert
        self.message = message
        self.said = ""
        """The server's own message, which may repeat the prompt: to be read by programs, never shown."""
        self.retry_after_s: float | None = None
        """Seconds that the server asks to wait, where it says so."""
        self.http_status: int | None = None
        """What the server answered with, where that is the error or (200) holds it; None where it did not
        answer."""
        if status is not None:
            self.status = status
        if code is not None:
            self.code = code


class ExpertUnavailable(ExpertError):
    """Unreachable, or failed before the first byte; another expert may be tried."""

    status = 503
    code = "expert_unavailable"


class ExpertBusy(ExpertError):
    """Our queue or the server's is full."""

    status = 429
    code = "expert_busy"


class QueueFull(ExpertBusy):
    """Our own queue; `retry_after_s` is what we expect, and no wish of the server."""


class ExpertTimeout(ExpertError):
    """No first byte in time, or a stalled stream."""

    status = 504
    code = "expert_timeout"


class ExpertBadReply(ExpertError):
    """Not a chat completion, or an incomplete one."""

    status = 502
    code = "expert_bad_reply"


class NotStreamed(ExpertBadReply):
    """The server ignored `stream`; `completion` is its whole answer, for when nobody else has one."""

    def __init__(self, expert: str, completion: dict[str, Any]) -> None:
        super().__init__(expert, f"Expert {expert} sent a whole answer instead of a stream.")
        self.completion = completion


class ExpertRejected(ExpertError):
    """The server rejected the request; `error` is its OpenAI-shaped error object for the client."""

    status = 400
    code = "expert_rejected"
    replaceable = False

    def __init__(
        self,
        expert: str,
        message: str,
        *,
        error: Mapping[str, Any],
        status: int | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(expert, message, status=status, code=code)
        self.error: dict[str, Any] = dict(error)


class ContextTooLong(ExpertRejected):
    """The conversation does not fit the expert's context window; another's may be larger."""

    status = 400
    code = "context_length_exceeded"
    replaceable = True

    def add(self, sentence: str) -> None:
        """Add a sentence of ours to the server's own message."""
        said = str(self.error.get("message") or self.message)
        stop = "" if said.endswith((".", "!", "?", "。")) else "."
        self.error["message"] = f"{said}{stop} {sentence}"
