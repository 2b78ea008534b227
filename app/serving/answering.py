"""The short path: one expert answers. Spills to the next of the ranking while nothing has been sent."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from app.serving.prompting import Prompting
from app.serving.records import AnswerRecord
from app.telemetry.metrics import Metrics
from experts.client import ExpertReply, ReplyStream
from experts.errors import ExpertBusy, ExpertError, ExpertTimeout, ExpertUnavailable
from experts.health import HealthMonitor
from experts.registry import Expert, Registry
from routers.decide import NoExpertFits, fall_back
from routers.decision import Reason

SPILLING = (ExpertUnavailable, ExpertBusy, ExpertTimeout)
"""Before its first byte, an expert that fails like this may be replaced by another one."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Failures:
    """What one request has met so far: failed tries, and every expert they rule out."""

    count: int = 0
    experts: set[str] = field(default_factory=set)


class Answering:
    """Asks the experts of a decision, best first, until one begins to answer."""

    def __init__(
        self,
        registry: Registry,
        prompting: Prompting,
        health: HealthMonitor,
        metrics: Metrics,
        *,
        spill_tries: int,
    ) -> None:
        """`spill_tries`: experts that may be asked after the chosen one."""
        self._registry = registry
        self._prompting = prompting
        self._health = health
        self._metrics = metrics
        self._spill_tries = spill_tries

    async def complete(self, record: AnswerRecord, body: Mapping[str, Any]) -> ExpertReply:
        """A whole answer. `record.decision` names who gave it. Raises ExpertError."""
        self._avoid_known_down(record)
        failures = _Failures()
        while True:
            expert = self._registry.get(record.decision.expert)
            try:
                reply = await self._prompting.complete(
                    expert, body, record.reading, request_id=record.request_id
                )
            except ExpertError as error:
                self._note_failure(expert, error)
                if not self._spill(record, expert, error, failures):
                    raise
                continue
            self._health.report_success(expert.name)
            return reply

    @asynccontextmanager
    async def stream(self, record: AnswerRecord, body: Mapping[str, Any]) -> AsyncIterator[ReplyStream]:
        """A streamed answer whose first event has come. Raises ExpertError, also from the iterator."""
        self._avoid_known_down(record)
        failures = _Failures()
        async with AsyncExitStack() as stack:
            while True:
                expert = self._registry.get(record.decision.expert)
                try:
                    stream = await stack.enter_async_context(
                        self._prompting.stream(expert, body, record.reading, request_id=record.request_id)
                    )
                except ExpertError as error:
                    self._note_failure(expert, error)
                    if not self._spill(record, expert, error, failures):
                        raise
                    continue
                break
            self._health.report_success(expert.name)
            try:
                yield stream
            except ExpertError as error:
                self._note_failure(expert, error)
                raise

    def _avoid_known_down(self, record: AnswerRecord) -> None:
        """Spill before the first try when the chosen expert is known to be down and another one is not.
        When nobody seems up the chosen one is asked all the same: what is known may be old."""
        decision = record.decision
        if self._pinned(record) or self._health.available(decision.expert):
            return
        down = {name for name in self._registry.names if not self._health.available(name)}
        try:
            record.decision = fall_back(decision, down, "its health check fails")
        except NoExpertFits:
            return
        self._count_spill(decision.expert, record.decision.expert)

    def _spill(self, record: AnswerRecord, expert: Expert, error: ExpertError, failures: "_Failures") -> bool:
        """Move `record` to the next expert; False when the error has to be answered."""
        failures.count += 1
        failures.experts |= self._same_server(expert)
        if not isinstance(error, SPILLING) or self._pinned(record) or failures.count > self._spill_tries:
            return False
        down = {name for name in self._registry.names if not self._health.available(name)}
        # What is known of health may be old: where everybody seems down, the next in the ranking is tried.
        for out in (failures.experts | down, failures.experts):
            try:
                record.decision = fall_back(record.decision, out, error.code)
            except NoExpertFits:
                continue
            self._count_spill(expert.name, record.decision.expert)
            return True
        return False

    def _same_server(self, expert: Expert) -> set[str]:
        """The experts behind the same endpoint: prompt experts go down with their base."""
        if expert.endpoint is None:
            return {expert.name}
        return {each.name for each in self._registry.experts.values() if each.endpoint == expert.endpoint}

    def _note_failure(self, expert: Expert, error: ExpertError) -> None:
        log.warning("expert_failed", expert=expert.name, code=error.code)
        self._health.report_failure(expert.name, error)

    def _count_spill(self, source: str, target: str) -> None:
        log.info("spilled", spilled_from=source, expert=target)
        self._metrics.spills.labels(source, target).inc()

    @staticmethod
    def _pinned(record: AnswerRecord) -> bool:
        """The client named this very expert: a pin is kept or refused, never replaced."""
        return record.decision.reason is Reason.PINNED and record.decision.category is None
