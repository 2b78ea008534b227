"""What the service itself can fail with. Knows nothing of HTTP frameworks, nor of any other module.

ServiceError    a request is answered with an error
StartError      the service does not start
"""

from collections.abc import Mapping, Sequence
from typing import Any

PARAM_LENGTH = 120
"""Longest field name that an error repeats."""


class ServiceError(Exception):
    """An answer that is an error. `status` is the HTTP status, `code` is for programs, `param` names the
    field at fault. Messages never hold prompt text, secrets or addresses."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> None:
        """`error`: a server's own error object, which is passed on with what it lacks."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})
        self.error = error


class StartError(Exception):
    """The service cannot start as configured; the message says what to do."""


def validation_error(errors: Sequence[Mapping[str, Any]], *, skip: int = 0) -> ServiceError:
    """The error for input that does not validate: pydantic's first complaint, without the input itself.
    `skip`: leading steps of the location that are not the client's."""
    first = errors[0]
    param = field_path(first["loc"][skip:])
    return ServiceError(
        400,
        _CODES.get(first["type"], "invalid_value"),
        f"{param}: {_sentence(first)}" if param else _sentence(first),
        param=param or None,
    )


_CODES = {
    "missing": "missing_required_parameter",
    "extra_forbidden": "unknown_parameter",
    "too_short": "empty_array",
}


def _sentence(error: Mapping[str, Any]) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "is not a known field here."
        case "too_short":
            return "must not be empty."
        case "missing":
            return "is required."
        case _:
            return f"{error['msg']}."


def field_path(location: tuple[int | str, ...]) -> str:
    """`("messages", 0, "content")` as `messages[0].content`."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    return path[:PARAM_LENGTH]


def place_of(error: BaseException) -> str:
    """Where an exception was raised, as `file:line`, innermost frame."""
    frame = error.__traceback__
    if frame is None:
        return "unknown"
    while frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
