"""Errors in the shape that the clients of each dialect expect.

Messages never hold prompt text, secrets or addresses.
"""

from typing import Any

from app.errors import ServiceError

TOO_LONG = "prompt is too long"
"""Anthropic's words: agents look for them and compact the conversation."""


def openai_error(error: ServiceError) -> dict[str, Any]:
    """`{"error": {"message": …, "type": …, "param": …, "code": …}}`"""
    own = {
        "message": error.message,
        "type": _openai_type(error.status),
        "param": error.param,
        "code": error.code,
    }
    said = {name: value for name, value in (error.error or {}).items() if value is not None}
    return {"error": {**own, **said}}


def _openai_type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    if status == 401:
        return "authentication_error"
    return "invalid_request_error" if status < 500 else "server_error"


def anthropic_error(error: ServiceError, request_id: str = "") -> dict[str, Any]:
    """`{"type": "error", "error": {"type": …, "message": …, "details": …}, "request_id": …}`; `code` and
    `param` are in the details, as `error_code` and `param`."""
    said = {name: value for name, value in (error.error or {}).items() if value is not None}
    message, code = said.get("message", error.message), said.get("code", error.code)
    if code == "context_length_exceeded" and not str(message).startswith(TOO_LONG):
        message = f"{TOO_LONG}: {message}"
    details = {"error_code": code}
    if (param := said.get("param", error.param)) is not None:
        details["param"] = param
    inner = {"type": _anthropic_type(error.status), "message": message, "details": details}
    return {"type": "error", "error": inner, "request_id": request_id}


_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def _anthropic_type(status: int) -> str:
    return _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
