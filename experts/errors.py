"""What can go wrong between Coterie and an expert, each with the HTTP status and code to answer.

    ExpertError
    ├── ExpertUnavailable   503 expert_unavailable       refused, DNS, 5xx before any byte, our key refused
    ├── ExpertBusy          429 expert_busy              our queue, or the server's own, is full
    ├── ExpertTimeout       504 expert_timeout           no first byte in time, or a stall
    ├── ExpertBadReply      502 expert_bad_reply         not JSON, not the shape, broken SSE
    └── ExpertRejected      4xx (the server's own)       the request itself is wrong
        └── ContextTooLong  400 context_length_exceeded

`message` names the expert and the kind of failure. It never holds a secret, prompt text, or an address;
what the expert's server itself said is in `ExpertRejected.error` alone, for the client whose request it was.
"""

from collections.abc import Mapping
from typing import Any


class ExpertError(Exception):
    """Base of everything the client raises. `status` is the HTTP status that the API should answer."""

    status: int = 500
    code: str = "expert_error"

    def __init__(
        self, expert: str, message: str, *, status: int | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.expert = expert
        self.message = message
        if status is not None:
            self.status = status
        if code is not None:
            self.code = code


class ExpertUnavailable(ExpertError):
    """The expert cannot be reached or failed before it answered anything; another expert may be tried."""

    status = 503
    code = "expert_unavailable"


class ExpertBusy(ExpertError):
    """Too much is queued for this expert already; the request was not sent, or the server turned it away."""

    status = 429
    code = "expert_busy"


class ExpertTimeout(ExpertError):
    """No first byte in time, or silence in the middle of an answer."""

    status = 504
    code = "expert_timeout"


class ExpertBadReply(ExpertError):
    """The expert answered something that is no chat completion, or stopped in the middle of one."""

    status = 502
    code = "expert_bad_reply"


class ExpertRejected(ExpertError):
    """The expert's server refused the request. `error` is its OpenAI-shaped error object:
    `{"message", "type", "param", "code"}`, fit to be shown to the client whose request it was.
    """

    status = 400
    code = "expert_rejected"

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
    """The conversation does not fit the expert's context window."""

    status = 400
    code = "context_length_exceeded"
