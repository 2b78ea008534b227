"""What an expert's refusal means: an HTTP status, its body and its wait, as one of our errors.

Servers and the proxies before them put errors into any shape: objects, strings, lists, HTML, with a fitting
status or with 200. Knows these shapes, not how the bytes were fetched.
"""

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from base.retries import read_retry_after
from experts.credentials import redact
from experts.errors import (
    ContextTooLong,
    ExpertBadReply,
    ExpertBusy,
    ExpertError,
    ExpertRejected,
    ExpertTimeout,
    ExpertUnavailable,
)
from experts.expert import Expert

MAX_MESSAGE = 4000
"""Characters of a server's own message that are passed on."""
MAX_RETRY_AFTER_S = 86_400
"""A server that asks to wait for longer is taken to say a day."""
DEPTH = 16
"""Levels of an error's body in which its message is looked for."""

_CONTEXT = re.compile(
    r"context.{0,3}length|context[ _-]?(?:window|size)|max_model_len|max_total_tokens|maximum model length"
    r"|(?:prompt|input) (?:is )?too long|too many (?:input |prompt )?tokens|token count.{0,60}exceeds"
    r"|\b(?:input|prompt)s?\b.{0,40}\btokens?\b.{0,40}\b(?:exceeds?|longer than|must be <)"
    r"|reduce the length of (?:the|your) (?:messages|prompt|input)"
    r"|上下文.{0,4}(?:长度|長度|窗口|视窗)|输入.{0,8}(?:过长|超过|超出)",
    re.IGNORECASE,
)
_LOADING = re.compile(
    r"\b(?:model|server|engine|service)\b.{0,80}\b(?:not (?:yet )?(?:loaded|ready)"
    r"|(?:is|are|still|currently) (?:still |currently )?"
    r"(?:loading|being loaded|starting|warming up|initiali[sz]ing))"
    r"|\bmodel (?:is )?(?:loading|warming up|unloaded)\b|\bloading\b.{0,40}\bmodel"
    r"|\bno models? (?:is |are )?loaded",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(
    r"credit balance|insufficient[ _](?:credits?|quota|balance|funds)|exceeded your current quota"
    r"|out of credits?",
    re.IGNORECASE,
)
_TOO_MANY = re.compile(r"rate.?limit|too many requests|tokens per (?:minute|hour|day)", re.IGNORECASE)
_BUSY = re.compile(
    r"\boverloaded\b|\b(?:at|over|no) capacity\b|\bunder maintenance\b|\bout of memory\b|\btry again later\b"
    r"|\b(?:currently|temporarily|server|service|model|engine)\b.{0,30}\b(?:busy|unavailable)\b",
    re.IGNORECASE,
)
_TRY_AGAIN_IN = re.compile(
    r"(?:try again|retry) (?:in|after) ((?:\d{1,6}(?:\.\d{1,9})? ?(?:ms|h|m|s))+)(?![a-z])", re.IGNORECASE
)
_NO_MODEL = re.compile(
    r"\b(?:no such|invalid|unknown) model\b|\bmodel_not_found\b"
    r"|\bmodel\b.{0,60}\b(?:does not exist|not found|not available)\b"
    r"|\bno endpoints found\b|\bHTTP request\b.{0,20}\bto\b.{0,10}\bHTTPS (?:server|port)\b",
    re.IGNORECASE,
)
_NO_ACCESS = re.compile(
    r"\bAPI.?key\b.{0,20}\b(?:not valid|invalid|expired|missing)\b|\b(?:invalid|incorrect) (?:x-)?API.?key\b"
    r"|\blocation is not supported\b|\bunsupported_country",
    re.IGNORECASE,
)

_CREDENTIALS = (ExpertUnavailable, "refused our credentials")
_NOT_SERVED = (ExpertUnavailable, "is not served at its endpoint")
_FULL = (ExpertBusy, "takes no more requests now")
_NOT_NOW = (ExpertUnavailable, "cannot take the request now")
_BY_STATUS: Mapping[int, tuple[type[ExpertError], str]] = {
    401: _CREDENTIALS,
    403: _CREDENTIALS,
    404: _NOT_SERVED,
    405: _NOT_SERVED,
    407: _CREDENTIALS,
    408: (ExpertTimeout, "took too long"),
    410: _NOT_SERVED,
    429: _FULL,
}
"""Statuses that say what is wrong without their body. Other 4xx than `_REQUEST_ERRORS` are between the server
and us (409 and 425 say so, 415 or 417 are a proxy's)."""
_NOT_THE_REQUEST: tuple[tuple[re.Pattern[str], type[ExpertError], str], ...] = (
    (_LOADING, ExpertUnavailable, "is still loading its model"),
    (_NO_MODEL, *_NOT_SERVED),
    (_NO_ACCESS, *_CREDENTIALS),
    (_BUSY, *_FULL),
)
"""What servers say with 400 or 422 although the request is not to blame."""
_REQUEST_ERRORS = frozenset({400, 422})
_STATUS_BY_TYPE = {
    "authentication_error": 401,
    "billing_error": 402,
    "context_length_exceeded": 400,
    "exceed_context_size_error": 400,
    "insufficient_quota": 402,
    "invalid_api_key": 401,
    "invalid_request_error": 400,
    "model_not_found": 404,
    "not_found_error": 404,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "request_too_large": 413,
    "timeout_error": 408,
}
"""What the types and codes of OpenAI, Anthropic and llama.cpp stand for, where an error came without a
status of its own: in a reply with status 200, or in a stream."""


def refusal(
    expert: Expert,
    status: int,
    payload: Any,
    secret: SecretStr | None = None,
    *,
    retry_after_s: float | None = None,
    how: str | None = None,
) -> ExpertError:
    """The error that an HTTP status and its body (parsed JSON, else text, or None) stand for. `how` tells
    users where it was said, where that was not the status."""
    error = _refusal(expert, status, how or f"HTTP {status}", payload, secret)
    error.said = _message(_error_object(payload))[:MAX_MESSAGE]
    error.http_status = status if how is None else 200
    wait = retry_after_s if retry_after_s is not None else _estimated_wait(payload)
    error.retry_after_s = None if wait is None else float(min(wait, MAX_RETRY_AFTER_S))
    return error


def error_in(document: Any) -> Any:
    """The error that a reply with status 200 holds in an answer's place; None when it holds none."""
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if not isinstance(document, dict):
        return None
    error = document.get("error")
    if any(error.values()) if isinstance(error, dict) else error:
        return document
    if document.get("choices"):
        return None
    answered = any(document.get(name) for name in ("content", "output", "data"))
    if not answered and (
        document.get("detail")
        or document.get("errors")
        or "error" in (document.get("object"), document.get("type"))
    ):
        return document
    return None


def reported_error(expert: Expert, document: Any, secret: SecretStr | None = None) -> ExpertError:
    """The error that a document found by `error_in` stands for, as if it had come with its own status."""
    return refusal(expert, _status_in(document), document, secret, how="an error in its reply")


def _refusal(expert: Expert, status: int, how: str, payload: Any, secret: SecretStr | None) -> ExpertError:
    name = expert.name
    if status < 400:
        return ExpertBadReply(name, f"Expert {name} answered with HTTP {status}.")
    error = openai_error(payload, secret)
    said = f"{error['code']} {error['type']} {error['message']}"
    if status == 402 or (status in {400, 403, 429} and _NO_CREDIT.search(said)):
        return ExpertUnavailable(name, f"Expert {name} has no credit left ({how}).")
    if status in {400, 413} and _TOO_MANY.search(said):
        status = 429
    if status == 413 or (status in {400, 422, 500} and _CONTEXT.search(said)):
        error |= {"type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}
        return ContextTooLong(name, f"The conversation is too long for expert {name}.", error=error)
    if status not in _REQUEST_ERRORS:
        kind, what = _BY_STATUS.get(status, (ExpertUnavailable, "failed") if status >= 500 else _NOT_NOW)
        return kind(name, f"Expert {name} {what} ({how}).")
    for pattern, kind, what in _NOT_THE_REQUEST:
        if pattern.search(said):
            return kind(name, f"Expert {name} {what} ({how}).")
    if isinstance(payload, str) and payload.startswith("<"):
        return ExpertBadReply(name, f"Expert {name} answered with a web page ({how}).")
    return ExpertRejected(name, f"Expert {name} rejected the request ({how}).", error=error, status=status)


def openai_error(payload: Any, secret: SecretStr | None) -> dict[str, Any]:
    """Any server's error body as OpenAI's error object."""
    error = _error_object(payload)
    param, kind, code = error.get("param"), error.get("type"), error.get("code")
    if not isinstance(code, str) or not code or code.isdigit():
        code = ExpertRejected.code
    message = _message(error) or "The expert's server gave no reason."
    return {
        "message": redact(message, [secret])[:MAX_MESSAGE],
        "type": kind if isinstance(kind, str) and kind != "error" else "invalid_request_error",
        "param": param if isinstance(param, str) else None,
        "code": code,
    }


def _error_object(payload: Any) -> dict[str, Any]:
    """The innermost object that says what is wrong."""
    if isinstance(payload, list) and payload and isinstance(payload[0], dict) and "error" in payload[0]:
        payload = payload[0]
    error = (payload.get("error") or payload) if isinstance(payload, dict) else payload
    if not isinstance(error, dict):
        return {"message": error}
    # OpenRouter's own message says only that its provider failed.
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if isinstance(raw, str) and raw.strip():
        return _error_object(body_of(raw.encode("utf-8", "replace")))
    return error


def _message(error: Mapping[str, Any], depth: int = DEPTH) -> str:
    for name in ("message", "detail", "errors", "error", "msg", "title"):
        if text := _text(error.get(name), depth - 1):
            return text
    return ""


def _text(said: Any, depth: int) -> str:
    """A message as text. A list is of complaints, as FastAPI's `detail`: where, and what."""
    if isinstance(said, str):
        return said.strip()
    if depth <= 0:
        return ""
    if isinstance(said, list):
        return "; ".join(filter(None, (_text(each, depth - 1) for each in said)))
    if isinstance(said, dict):
        place = said.get("loc")
        where = ".".join(map(str, place)) + ": " if isinstance(place, list) and place else ""
        what = _message(said, depth)
        return f"{where}{what}" if what else ""
    return ""


def _status_in(document: Any) -> int:
    """The status that an error without one of its own stands for: 500 unless it says better. vLLM,
    OpenRouter and others put the HTTP status into the error when the real one is spent."""
    outer = document[0] if isinstance(document, list) else document
    error = _error_object(outer)
    for place in (error, outer):
        for name in ("code", "status", "status_code", "type"):
            value = place.get(name)
            if isinstance(value, str):
                value = int(value) if value.isdecimal() and len(value) == 3 else _STATUS_BY_TYPE.get(value)
            if isinstance(value, int) and 400 <= value < 600:
                return value
    if isinstance(outer.get("detail"), list):
        return 422
    return 429 if _TOO_MANY.search(_message(error)) else 500


def retry_after_in(headers: Mapping[str, str]) -> float | None:
    """Seconds that a refusal's headers ask to wait: `retry-after-ms`, `Retry-After`, else the time after
    which a used-up limit is full again. Header names in lower case; None when they say nothing."""
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    if (told := read_retry_after(headers.get("retry-after"))) is not None:
        return told
    waits = []
    for kind in ("-requests", "-tokens", ""):
        reset = _reset_s(headers.get(f"x-ratelimit-reset{kind}"))
        if reset is not None and headers.get(f"x-ratelimit-remaining{kind}") in {None, "0"}:
            waits.append(reset)
    return max(waits, default=None)


def _reset_s(value: str | None) -> float | None:
    """`6m0s`, `20ms`, seconds, or a Unix time in seconds or milliseconds."""
    if value is None:
        return None
    if (number := _seconds(value)) is not None:
        if number < 1e8:
            return number
        return max(0.0, (number / 1000 if number > 1e11 else number) - time.time())
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", value)
    if not parts or "".join(map("".join, parts)) != value.strip():
        return None
    return sum(float(number) * units[unit] for number, unit in parts)


def _seconds(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else -1.0
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _estimated_wait(payload: Any) -> float | None:
    """What the body says of the wait: Hugging Face's servers how long a model still loads, Google's a
    `retryDelay`, others "try again in 7.66s"."""
    wait = payload.get("estimated_time") if isinstance(payload, dict) else None
    if isinstance(wait, int | float) and not isinstance(wait, bool):
        return wait if wait >= 0 else None
    error = _error_object(payload)
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(delay := detail.get("retryDelay"), str):
            return _reset_s(delay)
    told = _TRY_AGAIN_IN.search(_message(error))
    return _reset_s("".join(told.group(1).split())) if told else None


def body_of(data: bytes) -> Any:
    """An error's body: its JSON, else its text; None when it is empty."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode("utf-8", "replace").strip() or None
