"""Errors in the shape that the clients of each dialect expect.

Messages never hold prompt text, secrets or addresses.
"""

from typing import Any

from app.errors import ServiceError


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
