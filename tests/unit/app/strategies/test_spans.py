"""OpenTelemetry spans through the API, without an SDK: a recording provider stands in for one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

from app.telemetry.spans import known, span, tracer


class Recorded(NonRecordingSpan):
    def __init__(self, name: str, attributes: Mapping[str, Any]) -> None:
        super().__init__(SpanContext(1, 1, False, TraceFlags(1)))
        self.name, self.attributes, self.status = name, dict(attributes), StatusCode.UNSET

    def set_status(self, status: Any, description: str | None = None) -> None:
        assert isinstance(status, Status)
        self.status = status.status_code
        self.description = status.description


class Tracer(trace.NoOpTracer):
    def __init__(self) -> None:
        self.spans: list[Recorded] = []

    @contextmanager
    def start_as_current_span(self, name: str, **how: Any) -> Iterator[Recorded]:  # type: ignore[override]
        assert how["record_exception"] is False
        recorded = Recorded(name, how["attributes"])
        self.spans.append(recorded)
        yield recorded


class Provider(trace.TracerProvider):
    def __init__(self) -> None:
        self.tracer = Tracer()

    def get_tracer(self, *_: Any, **__: Any) -> Tracer:
        return self.tracer


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """In place for this module alone: the API lets a process set one once, and tests after this one have
    spans of their own."""
    found = Provider()
    before = trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE._done
    trace.set_tracer_provider(found)
    tracer.cache_clear()
    yield found
    trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE._done = before
    tracer.cache_clear()


def test_a_span_notes_what_is_known_and_never_an_exceptions_text(provider: Provider) -> None:
    with pytest.raises(ValueError, match="secret"), span("coterie.step", {"a": 1, "b": None}):
        raise ValueError("a secret of the prompt")
    recorded = provider.tracer.spans[-1]
    assert (recorded.name, recorded.attributes) == ("coterie.step", {"a": 1})
    assert (recorded.status, recorded.description) == (StatusCode.ERROR, "ValueError")


def test_what_is_not_known_is_no_attribute() -> None:
    assert known({"a": None, "b": 0, "c": ""}) == {"b": 0, "c": ""}
