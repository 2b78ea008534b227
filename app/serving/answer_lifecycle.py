"""The life of an answer: counted while in flight, its first byte and end noted, its row written."""

import structlog

from app.serving.answer_record import AnswerRecord, Status
from app.serving.conversations import Conversations
from app.storage.recorder import Recorder
from app.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)


class AnswerLifecycle:
    """`begin`, `first_byte` when an answer comes, `finish` once."""

    def __init__(self, metrics: Metrics, recorder: Recorder, conversations: Conversations) -> None:
        self._metrics = metrics
        self._recorder = recorder
        self._conversations = conversations
        self.in_flight: dict[str, AnswerRecord] = {}
        """Requests that are being answered, by decision id."""

    def begin(self, record: AnswerRecord) -> None:
        """A decided request is in flight from here on."""
        self.in_flight[record.decision.id] = record
        self._metrics.in_flight.inc()

    def first_byte(self, record: AnswerRecord) -> None:
        """The expert has begun to answer: it has the conversation now."""
        record.first_byte_s = record.seconds
        chat, decision = record.chat, record.decision
        conversation = chat.body.routing.conversation
        self._conversations.remember(chat.api_key, conversation, decision.id, decision.expert)
        self._metrics.first_byte_seconds.labels(decision.expert).observe(record.first_byte_s)

    async def finish(
        self, record: AnswerRecord, status: Status, http_status: int, *, error_code: str | None = None
    ) -> None:
        """Record the outcome, once; waits while the writer's queue is full."""
        if record.finished:
            return
        record.finished = True
        decision = record.decision
        row = record.row(status, http_status, error_code=error_code)
        self._metrics.answers.labels(
            decision.expert, decision.category or "", decision.reason.value, status
        ).inc()
        self._metrics.answer_seconds.labels(decision.expert).observe(record.seconds)
        for expert, usage in record.reported:
            for kind, count in usage.by_kind.items():
                self._metrics.tokens.labels(expert, kind).inc(count)
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
                await self._recorder.submit_over_bound(row)
            else:
                await self._recorder.submit(row)
        finally:
            self.in_flight.pop(decision.id, None)
            self._metrics.in_flight.dec()
