"""Every error of every package, mapped to a status and a code in this one place.

Messages never hold prompt text, secrets or addresses.
"""

import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.api.json import JsonResponse
from app.dialects.error_shapes import anthropic_error, openai_error
from app.errors import ServiceError, validation_error
from app.storage.queries import BadCursor
from experts.errors import ExpertBusy, ExpertError, ExpertRejected
from routers.decide import NoExpertFits, RoutingError, UnknownName

ANSWERED_ERRORS = (ServiceError, ExpertError, RoutingError, BadCursor, SQLAlchemyError)
"""Those that `service_error` has an answer to; any other is nobody's intention."""
MESSAGES_PATH = "/v1/messages"
DEEPEST = 8
"""Steps of an unknown path that are looked at."""


def service_error(error: Exception) -> ServiceError:
    """The answer to an exception of ours; anything unknown is a 500 that says nothing of its cause."""
    match error:
        case ServiceError():
            return error
        case ExpertRejected():
            return ServiceError(error.status, error.code, error.message, error=error.error)
        case ExpertError():
            return ServiceError(error.status, error.code, error.message, headers=_wait(error))
        case UnknownName():
            return ServiceError(404, "model_not_found", str(error), param="model")
        case NoExpertFits():
            status = 503 if error.code == "expert_unavailable" else 400
            param = "messages" if error.code == "context_length_exceeded" else None
            return ServiceError(status, error.code, str(error), param=param)
        case RoutingError():
            return ServiceError(400, error.code, str(error))
        case DataError():
            # PostgreSQL's answer to a NUL in what is looked for.
            return ServiceError(
                400, "invalid_value", "The request holds a character that cannot be looked for."
            )
        case SQLAlchemyError():
            return ServiceError(503, "database_unavailable", "The database does not answer; try again.")
        case BadCursor():
            return ServiceError(400, "invalid_cursor", "`after` is no cursor of this list", param="after")
        case _:
            return ServiceError(
                500, "internal_error", "Something went wrong here; the request id is in the log."
            )


def _wait(error: ExpertError) -> dict[str, str]:
    """`retry-after` as the expert's server asked for it; a full queue without a wish of its own is worth
    another try in a second."""
    wait_s = error.retry_after_s
    if wait_s is None and isinstance(error, ExpertBusy):
        wait_s = 1.0
    if wait_s is None or error.status not in {429, 503}:
        return {}
    return {"retry-after": str(math.ceil(wait_s))}


def install_error_handlers(app: FastAPI) -> None:
    """Answer all exceptions of `app` in the shape of the dialect that is spoken at the request's path."""

    async def answer(request: Request, error: Exception) -> Response:
        return respond(request, service_error(error))

    async def answer_invalid(request: Request, error: Exception) -> Response:
        errors = error.errors() if isinstance(error, RequestValidationError) else []
        return respond(request, validation_error(errors, skip=1))

    async def answer_http(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):  # pragma: no cover - starlette calls by class
            raise error
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        message = str(error.detail)
        if error.status_code == 404:
            message = f"There is nothing at this address.{_meant(request)}"
        elif error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "another one")
            message = f"Not with this method: the address takes {allowed}."
        return respond(request, ServiceError(error.status_code, code, message, headers=error.headers))

    for kind in ANSWERED_ERRORS:
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(HTTPException, answer_http)


def respond(request: Request, error: ServiceError) -> Response:
    """The error as a response to `request`."""
    request.state.error_code = error.code  # for the request's log line
    return error_response(error, request.url.path, request.state.request_id)


def _meant(request: Request) -> str:
    """The address that a client with a wrong base URL meant, as a sentence: it lacks `/v1`, or has it or the
    endpoint twice. Only our own addresses are repeated."""
    known = request.app.openapi()["paths"]
    steps = request.url.path.strip("/").split("/")[-DEEPEST:]
    for first in range(len(steps)):
        path = "/v1/" + "/".join(steps[first:])
        if path in known:
            base = "alone" if speaks_messages(path) else "and /v1"
            return f" Did you mean {path}? A client's base URL is this server's address {base}."
    return ""


def error_response(error: ServiceError, path: str, request_id: str = "") -> Response:
    """The error as a response to a request at `path`, in the shape of its dialect."""
    return JsonResponse(error_document(error, path, request_id), error.status, headers=error.headers)


def error_document(error: ServiceError, path: str, request_id: str = "") -> dict[str, Any]:
    """The error in the shape of the dialect that is spoken at `path`."""
    if speaks_messages(path):
        return anthropic_error(error, request_id)
    return openai_error(error)


def speaks_messages(path: str) -> bool:
    """Whether Anthropic's Messages API is spoken at `path`, whatever is below it."""
    return path == MESSAGES_PATH or path.startswith(f"{MESSAGES_PATH}/")
