"""The life of an answer: counted while in flight, its first byte and end noted, its row written."""

import structlog

from app.serving.answer_record import AnswerRecord, Status
from app.serving.conversations import Conversations
from app.storage.recorder import Recorder
from app.storage.rows import MarkRow
from app.telemetry.metrics import Metrics

FLUSH_S = 0.25
"""How long an answer that only its expert can go on with waits to be written: its client may go on at another
worker at once."""

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
        self.remember(record)
        self._metrics.first_byte_seconds.labels(record.decision.expert).observe(record.first_byte_s)

    def remember(self, record: AnswerRecord) -> tuple[MarkRow, ...]:
        """Remember who answers, and what was said so far; returns what storage has to keep of it."""
        chat, decision, chain = record.chat, record.decision, record.context.chain
        if chain is None or record.first_byte_s is None:
            return ()
        return self._conversations.remember(
            chain,
            chat.api_key,
            chat.body.routing.conversation,
            decision.id,
            (decision.expert, decision.sure_category),
            record.reader.answers,
        )

    async def finish(
        self, record: AnswerRecord, status: Status, http_status: int, *, error_code: str | None = None
    ) -> None:
        """Record the outcome, once; waits while the writer's queue is full."""
        if record.finished:
            return
        record.finished = True
        decision = record.decision
        row = record.row(status, http_status, error_code=error_code)
        row.marks = self.remember(record)
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
            if status == "ok" and any(said.calls or said.state for said in record.reader.answers):
                await self._recorder.written(FLUSH_S)
        finally:
            self.in_flight.pop(decision.id, None)
            self._metrics.in_flight.dec()
