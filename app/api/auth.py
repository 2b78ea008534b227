"""API keys: who may call, and under which label. Keys are compared as digests, in constant time."""

import hashlib
import hmac
from collections.abc import Sequence

import structlog
from starlette.requests import Request

from app.errors import ServiceError
from app.settings import ApiKey


def label_of(authorization: str | None, keys: Sequence[ApiKey]) -> str | None:
    """The label of the bearer's key; None when no keys are set. Raises ServiceError (401)."""
    if not keys:
        return None
    scheme, _, token = (authorization or "").partition(" ")
    digest = hashlib.sha256(token.strip().encode("utf-8", "replace")).digest()
    found: str | None = None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key.label
    if found is None or scheme.lower() != "bearer":
        raise ServiceError(
            401,
            "invalid_api_key",
            "This service needs an API key: Authorization: Bearer <key>.",
            headers={"www-authenticate": "Bearer"},
        )
    return found


async def check_api_key(request: Request) -> None:
    """A dependency of every route but the probes; leaves the label in `request.state.api_key`."""
    label = label_of(request.headers.get("authorization"), request.app.state.settings.keys)
    request.state.api_key = label
    if label is not None:
        structlog.contextvars.bind_contextvars(api_key=label)
