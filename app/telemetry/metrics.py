"""Prometheus metrics of one service, in a registry of its own: several services fit one process.

Where several processes serve, each writes to files in a folder that they share, and who is asked reads all.
"""

from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

SHORT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
LONG_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


Kind = TypeVar("Kind", bound=MetricWrapperBase)


def _metric(kind: type[Kind], *described: Any, **more: Any) -> Kind:
    """A metric whose children are looked up by their labels alone: the library checks and locks each time."""
    made = kind(*described, **more)
    made.labels = cache(made.labels)  # type: ignore[method-assign]
    return made


class Metrics:
    """Every metric by name. Labels hold names of experts, categories and routes only."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: what PROMETHEUS_MULTIPROC_DIR named when `prometheus_client` was imported; None for a
        process alone."""
        self._folder = folder
        self._gauges: list[tuple[Gauge, Callable[[], float]]] = []
        self.registry = CollectorRegistry()
        if folder is None:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
        counter = partial(_metric, Counter, registry=self.registry)
        histogram = partial(_metric, Histogram, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry, multiprocess_mode="livesum")
        self.http_requests = counter(
            "coterie_http_requests", "HTTP requests answered.", ("route", "method", "status")
        )
        self.http_seconds = histogram(
            "coterie_http_request_seconds",
            "From a request's arrival to the last byte of its answer.",
            ("route",),
            buckets=LONG_S,
        )
        self.answers = counter(
            "coterie_answers",
            "Chat requests that were routed, by what became of them.",
            ("expert", "category", "reason", "status"),
        )
        self.routing_seconds = histogram(
            "coterie_routing_seconds",
            "Encoding and deciding, the wait for a routing thread included.",
            buckets=SHORT_S,
        )
        self.first_byte_seconds = histogram(
            "coterie_first_byte_seconds",
            "From a chat request's arrival to the first byte of its answer.",
            ("expert",),
            buckets=LONG_S,
        )
        self.answer_seconds = histogram(
            "coterie_answer_seconds",
            "From a chat request's arrival to the end of its answer.",
            ("expert",),
            buckets=LONG_S,
        )
        self.spent = counter(
            "coterie_spent",
            "What answers took, in dollars and in B·tokens (active parameters times tokens), where known.",
            ["expert", "unit"],
        )
        self.compared = counter(
            "coterie_compared",
            "What answers took (actual), and would have with the fixed alternative, where both are known.",
            ["with", "unit"],
        )
        self.tokens = counter(
            "coterie_tokens",
            "Tokens that experts reported; cached ones are part of prompt, reasoning of completion.",
            ("expert", "kind"),
        )
        self.fallbacks = counter(
            "coterie_spills",
            "Requests that left an unavailable expert for another one.",
            ("from_expert", "to_expert"),
        )
        self.residency_switches = counter(
            "coterie_residency_switches",
            "Servers that were loaded (wake) or left memory (sleep), and whether that went well.",
            ("server", "kind", "result"),
        )
        self.residency_seconds = histogram(
            "coterie_residency_switch_seconds",
            "How long a server took to be loaded or to leave memory.",
            ("server", "kind"),
            buckets=LONG_S,
        )
        self.residency_wait_seconds = histogram(
            "coterie_residency_wait_seconds",
            "How long requests waited for a server that was not loaded.",
            ("server",),
            buckets=LONG_S,
        )
        self.replica_answers = counter(
            "coterie_replica_answers",
            "Answers of experts with several servers, by the server's number; failed: another one was asked.",
            ("expert", "replica", "status"),
        )
        self.shadows = counter(
            "coterie_shadows",
            "Shadow answers, by what became of them: ok, error or dropped.",
            ("expert", "status"),
        )
        self.strategy_calls = counter(
            "coterie_strategy_calls",
            "Calls that strategies made to experts, by how they ended.",
            ("strategy", "expert", "status"),
        )
        self.strategies = counter(
            "coterie_strategies",
            "Requests that a strategy of several experts answered, and whether as it meant to.",
            ("strategy", "result"),
        )
        self.escalations = counter(
            "coterie_escalations",
            "Requests that would cost more than the quota's baseline: counted, limited or refused.",
            ("expert", "result"),
        )
        self.reloads = counter("coterie_reloads", "Reloads of the composition, done or refused.", ("result",))
        self.in_flight = gauge("coterie_answers_in_flight", "Chat requests being answered.")
        self.rows_written = counter("coterie_rows_written", "Decisions and feedback written.")
        self.rows_refused = counter("coterie_rows_refused", "Rows that the database would not take.")

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge that is read when somebody looks."""
        made = Gauge(name, text, registry=self.registry, multiprocess_mode="livesum")
        if self._folder is None:
            made.set_function(read)
        else:
            self._gauges.append((made, read))

    def refresh(self) -> None:
        """Write what `gauge` reads to the folder, for whoever is asked."""
        for gauge, read in self._gauges:
            gauge.set(read())

    def text(self) -> bytes:
        """Prometheus' text format, of all processes."""
        if self._folder is None:
            return generate_latest(self.registry)
        from prometheus_client.multiprocess import MultiProcessCollector

        self.refresh()
        whole = CollectorRegistry()
        MultiProcessCollector(whole, str(self._folder))  # type: ignore[no-untyped-call]
        whole.register(_Processes(self._folder))
        PlatformCollector(registry=whole)
        return generate_latest(whole)


class _Processes(Collector):
    """What processes use of the machine, over all that live: those with a file of gauges."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        found: dict[str, Metric] = {}
        for file in self._folder.glob("gauge_livesum_*.db"):
            pid = file.stem.rpartition("_")[2]
            for metric in ProcessCollector(pid=partial(str, pid), registry=None).collect():
                found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                found[metric.name].samples += metric.samples
        for metric in found.values():
            values = [sample.value for sample in metric.samples]
            whole = min(values) if metric.name == "process_start_time_seconds" else sum(values)
            metric.samples = [metric.samples[0]._replace(value=whole)]
        return found.values()
