"""API keys: who may call, and under which label. Keys are compared as digests, in constant time."""

import hashlib
import hmac
from collections.abc import Sequence

from starlette.requests import Request

from app.errors import ServiceError
from app.settings import ApiKey
from app.telemetry.logs import note_api_key


def label_of(authorization: str | None, keys: Sequence[ApiKey], x_api_key: str | None = None) -> str | None:
    """The label of the caller's key, as OpenAI's clients send it (a bearer) or as Anthropic's do
    (`x-api-key`); None when no keys are set. Of two that are given a valid one counts, the bearer's first:
    clients add what is in their environment. Raises ServiceError (401)."""
    if not keys:
        return None
    scheme, _, token = (authorization or "").partition(" ")
    found = _label(token, keys) if scheme.lower() == "bearer" else None
    if found is None and x_api_key is not None:
        found = _label(x_api_key, keys)
    if found is None:
        raise ServiceError(
            401,
            "invalid_api_key",
            "This service needs an API key: Authorization: Bearer <key>, or x-api-key: <key>.",
            headers={"www-authenticate": "Bearer"},
        )
    return found


def _label(token: str, keys: Sequence[ApiKey]) -> str | None:
    digest = hashlib.sha256(token.strip().encode("utf-8", "replace")).digest()
    found: str | None = None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key.label
    return found


async def check_api_key(request: Request) -> None:
    """A dependency of every route but the probes; leaves the label in `request.state.api_key`."""
    given = request.headers
    keys = request.app.state.settings.keys
    label = label_of(given.get("authorization"), keys, given.get("x-api-key"))
    request.state.api_key = label
    if label is not None:
        note_api_key(label)
