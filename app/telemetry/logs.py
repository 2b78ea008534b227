"""Structured logs on standard error: one JSON object a line, ours and the libraries' alike."""

import json
import logging
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal

import orjson
import structlog
from structlog.typing import EventDict

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

QUIET = ("uvicorn.access", "aiosqlite", "asyncio", "alembic", "httpx", "httpcore")
"""Loggers of libraries that are too verbose, or repeat our own."""


def configure_logs(
    level: Literal["debug", "info", "warning", "error"],
    form: Literal["json", "text"] = "json",
    *,
    worker: int | None = None,
) -> None:
    """Set up the process's logging. Called once by the command that serves, never on import. `worker`: this
    process's number among several, which each of its lines has."""

    def add_worker(_: Any, __: str, event: EventDict) -> EventDict:
        event["worker"] = worker
        return event

    shared: list[structlog.typing.Processor] = [*([] if worker is None else [add_worker]), _complete]
    last: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
        if form == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    # Ours are written as they are made: the standard library's loggers would double what a line costs.
    structlog.configure(
        processors=[*shared, *last],
        logger_factory=_Lines,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


_LEVEL_NAMES = {"warn": "warning", "exception": "error"}
_NOTHING: Mapping[str, str] = MappingProxyType({})
_request: ContextVar[dict[str, str]] = ContextVar("request")
"""What lines of the present request say of it."""


def begin_request(request_id: str) -> None:
    """Lines from here on, of this task and those that it starts, are of this request."""
    _request.set({"request_id": request_id})


def note_api_key(label: str) -> None:
    """Its caller is known."""
    _request.set({**_request.get(_NOTHING), "api_key": label})


def _complete(logger: Any, method: str, event: EventDict) -> EventDict:
    """What every line has beside its event, in one step: structlog's own four take three times as long."""
    for name, value in _request.get(_NOTHING).items():
        event.setdefault(name, value)
    event["level"] = _LEVEL_NAMES.get(method, method)
    record = event.get("_record")  # of a library's logger
    event["logger"] = logger.name if record is None else record.name
    event["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return event


class _Lines:
    """What structlog hands its finished lines to: standard error, by a name."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def msg(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")

    debug = info = warning = error = critical = msg


def _json(line: Any, default: Callable[[Any], Any]) -> str:
    try:
        return orjson.dumps(line, default=default).decode()
    except TypeError:  # half a surrogate pair, an integer of more than 64 bits
        return json.dumps(line, default=default)
