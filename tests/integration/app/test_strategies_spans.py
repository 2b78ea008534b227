"""A strategy's spans as the operator's tracing gets them: one for the request, its steps under it, calls
under these. Recorded through OpenTelemetry's API, without an SDK."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from app.telemetry.spans import tracer
from tests.integration.app.strategy_world import ask, routing_of, says, serving


class Recorded(NonRecordingSpan):
    def __init__(self, number: int, name: str, parent: Any, attributes: Mapping[str, Any]) -> None:
        super().__init__(SpanContext(1, number, False, TraceFlags(1)))
        self.name, self.parent, self.attributes, self.ended = name, parent, dict(attributes), False

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        self.attributes |= attributes

    def end(self, end_time: int | None = None) -> None:
        self.ended = True


class Recorder(trace.TracerProvider, trace.NoOpTracer):
    def __init__(self) -> None:
        self.spans: list[Recorded] = []

    def get_tracer(self, *_: Any, **__: Any) -> "Recorder":
        return self

    def start_span(self, name: str, context: Context | None = None, *_: Any, **how: Any) -> Recorded:
        found = Recorded(len(self.spans) + 1, name, trace.get_current_span(context), how["attributes"])
        self.spans.append(found)
        return found

    @contextmanager
    def start_as_current_span(self, name: str, **how: Any) -> Iterator[Recorded]:  # type: ignore[override]
        with trace.use_span(self.start_span(name, attributes=how["attributes"]), end_on_exit=True) as found:
            assert isinstance(found, Recorded)
            yield found

    def named(self, name: str) -> list[Recorded]:
        return [each for each in self.spans if each.name == name]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """The process's provider for one test; the API lets one be set only once."""
    found = Recorder()
    before = trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE._done
    trace._TRACER_PROVIDER = None
    trace._TRACER_PROVIDER_SET_ONCE._done = False
    trace.set_tracer_provider(found)
    tracer.cache_clear()
    yield found
    trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE._done = before
    tracer.cache_clear()


@pytest.mark.parametrize("strategy", ["cascade", "panel", "chain", "self_select"])
@pytest.mark.parametrize("stream", [False, True])
async def test_every_step_and_call_has_a_span_under_the_requests(
    tmp_path: Path, recorder: Recorder, strategy: str, stream: bool
) -> None:
    ways = {name: says("an answer of " + name, confidence=0.5) for name in ("coder", "backup", "talker")}
    async with serving(tmp_path, ways) as api:
        routing = routing_of(await ask(api, strategy, stream=stream))
        [whole] = recorder.named("coterie.strategy")
        assert whole.attributes == {"coterie.strategy": strategy, "coterie.decision": routing["id"]}
        steps, calls = recorder.named("coterie.step"), recorder.named("coterie.call")
        assert {each.parent for each in steps} == {whole}
        assert {each.parent for each in calls} <= set(steps)
        assert all(each.ended for each in recorder.spans)
        trace_steps = routing["trace"]["steps"]
        assert sorted(
            (each.attributes["coterie.expert"], each.attributes["coterie.status"]) for each in calls
        ) == sorted((each["expert"], each["status"]) for each in trace_steps)
        tokens = [each.attributes["gen_ai.usage.output_tokens"] for each in calls]
        assert sum(tokens) == routing["trace"]["totals"]["completion_tokens"] > 0
        assert not any("answer of" in str(each.attributes) for each in recorder.spans)
