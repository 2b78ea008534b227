"""Every error of every package, answered in OpenAI's shape, mapped in this one place.

    {"error": {"message": …, "type": …, "param": …, "code": …}}

Messages never hold prompt text, secrets or addresses.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.api.json import JsonResponse
from app.storage.queries import BadCursor
from experts.errors import ExpertBusy, ExpertError, ExpertRejected
from routers.decide import NoExpertFits, RoutingError, UnknownName

PARAM_LENGTH = 120
"""A client may send a field name of any length; errors repeat so much of it."""


class ApiError(Exception):
    """An answer that is an error. `status` is the HTTP status, `param` the field at fault."""

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
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})
        self._error = error

    @property
    def body(self) -> dict[str, Any]:
        """The body in OpenAI's shape; a server's own error object is passed on with what it lacks."""
        own = {
            "message": self.message,
            "type": _type(self.status),
            "param": self.param,
            "code": self.code,
        }
        return {"error": {**own, **self._error} if self._error else own}


def _type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    if status == 401:
        return "authentication_error"
    return "invalid_request_error" if status < 500 else "server_error"


def api_error(error: Exception) -> ApiError:
    """The answer to an exception of ours; anything unknown is a 500 that says nothing of its cause."""
    match error:
        case ApiError():
            return error
        case ExpertRejected():
            return ApiError(error.status, error.code, error.message, error=error.error)
        case ExpertError():
            headers = {"retry-after": "1"} if isinstance(error, ExpertBusy) else None
            return ApiError(error.status, error.code, error.message, headers=headers)
        case UnknownName():
            return ApiError(404, "model_not_found", str(error), param="model")
        case NoExpertFits():
            status = 503 if error.code == "expert_unavailable" else 400
            return ApiError(status, error.code, str(error), param="messages" if status == 400 else None)
        case RoutingError():
            return ApiError(400, error.code, str(error))
        case DataError():
            # PostgreSQL's answer to a NUL in what is looked for.
            return ApiError(400, "invalid_value", "The request holds a character that cannot be looked for.")
        case SQLAlchemyError():
            return ApiError(503, "database_unavailable", "The database does not answer; try again.")
        case BadCursor():
            return ApiError(400, "invalid_cursor", "`after` is no cursor of this list", param="after")
        case _:
            return ApiError(500, "internal_error", "Something went wrong here; the request id is in the log.")


def validation_error(errors: Sequence[Mapping[str, Any]], *, skip: int = 0) -> ApiError:
    """The answer to input that does not validate: pydantic's first complaint, without the input itself.
    `skip`: leading steps of the location that are not the client's."""
    first = errors[0]
    param = field_path(first["loc"][skip:])
    return ApiError(
        400,
        ERROR_CODES.get(first["type"], "invalid_value"),
        f"{param}: {_sentence(first)}" if param else _sentence(first),
        param=param or None,
    )


ERROR_CODES = {
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


def install_error_handlers(app: FastAPI) -> None:
    """Answer all exceptions of `app` in OpenAI's shape."""

    def respond(request: Request, error: ApiError) -> Response:
        request.state.error_code = error.code  # for the request's log line
        return error_response(error)

    async def answer(request: Request, error: Exception) -> Response:
        return respond(request, api_error(error))

    async def answer_invalid(request: Request, error: Exception) -> Response:
        errors = error.errors() if isinstance(error, RequestValidationError) else []
        return respond(request, validation_error(errors, skip=1))

    async def answer_http(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):  # pragma: no cover - starlette calls by class
            raise error
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        message = {404: "There is nothing at this address.", 405: "Not with this method."}
        return respond(
            request,
            ApiError(
                error.status_code,
                code,
                message.get(error.status_code, str(error.detail)),
                headers=error.headers,
            ),
        )

    for kind in (ApiError, ExpertError, RoutingError, BadCursor, SQLAlchemyError):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(HTTPException, answer_http)


def error_response(error: ApiError) -> Response:
    """The error as a response."""
    return JsonResponse(error.body, error.status, headers=error.headers)


def place_of(error: BaseException) -> str:
    """Where an exception was raised, as `file:line`, innermost frame."""
    frame = error.__traceback__
    if frame is None:
        return "unknown"
    while frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
