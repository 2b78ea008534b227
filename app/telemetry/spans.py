"""OpenTelemetry spans of strategies, through the API alone: without an SDK set up by the operator
(`opentelemetry-instrument coterie serve`, or a distribution's own) they cost next to nothing and go
nowhere. Attributes hold names and numbers, never text of prompts or answers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

Value = str | int | float | bool
NAME = "coterie.strategies"


@cache
def tracer() -> "Tracer":
    """The process's tracer: a proxy for the provider that an operator sets up, also later."""
    from opentelemetry import trace

    return trace.get_tracer(NAME)


@contextmanager
def span(name: str, attributes: Mapping[str, Value | None]) -> Iterator["Span"]:
    """The current span for the length of the block; an exception is noted by its type, not by its text,
    which may repeat a prompt."""
    from opentelemetry.trace import Status, StatusCode

    with tracer().start_as_current_span(
        name, attributes=known(attributes), record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except BaseException as error:
            current.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def known(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    """Without those that are not known: a span takes no None."""
    return {name: value for name, value in attributes.items() if value is not None}
