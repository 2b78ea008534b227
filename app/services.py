"""Everything that one running service holds."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from app.composition_reload import Reloader
from app.serving.answering import Answering
from app.serving.conversations import Conversations
from app.serving.exploration import Exploration
from app.serving.prompting import Prompting
from app.serving.records import AnswerRecord, Status
from app.serving.routing import RoutingService
from app.serving.shadow import Shadow
from app.settings import Settings
from app.storage.database import Database
from app.storage.recorder import Recorder
from app.strategies.strategy_service import Strategies
from app.telemetry.metrics import Metrics
from base.usage import TokenUsage
from experts.health import HealthMonitor
from experts.registry import Registry

if TYPE_CHECKING:
    pass

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Services:
    """What the API's routes work with."""

    settings: Settings
    metrics: Metrics
    registry: Registry
    routing: RoutingService
    reloader: Reloader
    health: HealthMonitor
    prompting: Prompting
    answering: Answering
    strategies: Strategies
    database: Database
    recorder: Recorder
    conversations: Conversations
    exploration: Exploration
    shadow: Shadow
    in_flight: dict[str, AnswerRecord] = field(default_factory=dict)
    """Requests that are being answered, by decision id."""

    def begin(self, record: AnswerRecord) -> None:
        """A request has its decision."""
        self.in_flight[record.decision.id] = record
        self.metrics.in_flight.inc()

    def began_to_answer(self, record: AnswerRecord) -> None:
        """The first byte is there: this expert has the conversation now."""
        record.first_byte()
        decision = record.decision
        self.conversations.remember(record.api_key, record.conversation, decision.id, decision.expert)
        self.metrics.first_byte_seconds.labels(decision.expert).observe(record.first_byte_s or 0.0)

    async def finish(
        self,
        record: AnswerRecord,
        status: Status,
        http_status: int,
        *,
        error_code: str | None = None,
        usage: Any = None,
    ) -> None:
        """Note what became of a request, once; waits while the writer's queue is full."""
        if record.finished:
            return
        record.finished = True
        decision = record.decision
        row = record.row(status, http_status, error_code=error_code, usage=usage)
        self.metrics.answers.labels(
            decision.expert, decision.category or "", decision.reason.value, status
        ).inc()
        self.metrics.answer_seconds.labels(decision.expert).observe(record.seconds)
        for expert, used in _usage_by_expert(decision.expert, usage):
            self._count_tokens(expert, used)
        log.info(
            "answered",
            decision=decision.id,
            expert=decision.expert,
            category=decision.category,
            reason=decision.reason.value,
            strategy=decision.strategy,
            spilled_from=decision.spilled_from,
            status=status,
            error_code=error_code,
            ms=row.latency_ms,
        )
        try:
            if status == "cancelled":
                await self.recorder.submit_over_bound(row)
            else:
                await self.recorder.submit(row)
        finally:
            self.in_flight.pop(decision.id, None)
            self.metrics.in_flight.dec()

    def _count_tokens(self, expert: str, usage: Any) -> None:
        told = TokenUsage.of(usage)
        for kind, count in (("prompt", told.prompt), ("completion", told.completion)):
            if count is not None:
                self.metrics.tokens.labels(expert, kind).inc(count)


def _usage_by_expert(expert: str, usage: Any) -> list[tuple[str, Any]]:
    """Whose tokens they are: a strategy's usage lists its calls."""
    calls = usage.get("calls") if isinstance(usage, dict) else None
    if not isinstance(calls, list):
        return [(expert, usage)]
    return [(call["expert"], call) for call in calls if isinstance(call, dict) and "expert" in call]
