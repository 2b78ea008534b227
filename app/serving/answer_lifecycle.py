"""The life of an answer: counted while in flight, its first byte and end noted, its row written."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from app.serving.answer_record import AnswerRecord, Status
from app.serving.conversations import Conversations
from app.serving.message_chain import ConversationTurn
from app.storage.recorder import Recorder
from app.storage.rows import DecisionRow, Mark, NewRow
from app.telemetry.metrics import Metrics
from base.prices import usage_cost
from base.usage import TokenUsage
from experts.registry import Registry

FLUSH_S = 0.25
"""How long an answer that only its expert can go on with waits to be written: its client may go on at another
worker at once."""

log = structlog.get_logger(__name__)


class AnswerLifecycle:
    """`begin`, `first_byte` when an answer comes, `finish` once."""

    def __init__(
        self, metrics: Metrics, recorder: Recorder, conversations: Conversations, registry: Registry
    ) -> None:
        self._metrics = metrics
        self._recorder = recorder
        self._conversations = conversations
        self._registry = registry
        self.in_flight: dict[str, AnswerRecord] = {}
        """Requests that are being answered, by decision id."""

    def begin(self, record: AnswerRecord) -> None:
        """A decided request is in flight from here on."""
        self.in_flight[record.decision.id] = record
        self._metrics.in_flight.inc()

    def first_byte(self, record: AnswerRecord) -> None:
        """The expert has begun to answer: it has the conversation now."""
        record.first_byte_s = record.seconds
        if record.stream:
            # Of a whole answer all is known at once: `finish` follows.
            self.remember(record)
        self._metrics.first_byte_seconds.labels(record.decision.expert).observe(record.first_byte_s)

    def remember(
        self, record: AnswerRecord, answers: Sequence[ConversationTurn] | None = None
    ) -> tuple[Mark, ...]:
        """Remember who answers, and what was said so far (`answers`, where that is known); returns what
        storage has to keep of it."""
        chat, decision, chain = record.chat, record.decision, record.context.chain
        if chain is None or record.first_byte_s is None:
            return ()
        replica = record.context.use_of(decision.expert).replica
        return self._conversations.remember(
            chain,
            chat.api_key,
            chat.body.routing.conversation,
            decision.id,
            (decision.expert, decision.sure_category),
            record.reader.answers if answers is None else answers,
            None if replica is None else replica.id,
        )

    async def finish(
        self, record: AnswerRecord, status: Status, http_status: int, *, error_code: str | None = None
    ) -> None:
        """Record the outcome, once; waits while the writer's queue is full."""
        if record.finished:
            return
        record.finished = True
        decision = record.decision
        columns = record.columns(status, http_status, error_code=error_code)
        answers = record.reader.answers
        reported = record.reported
        columns["cost"], columns["compute"] = self._spent(reported)
        row = NewRow(DecisionRow, columns, self.remember(record, answers))
        self._metrics.answers.labels(
            decision.expert, decision.category or "", decision.reason.value, status
        ).inc()
        self._metrics.answer_seconds.labels(decision.expert).observe(record.seconds)
        if (replica := record.context.use_of(decision.expert).replica) is not None:
            by_number = [(number, "failed") for number, _ in replica.tried]
            for number, became in (*by_number, (replica.number, status)):
                self._metrics.replica_answers.labels(decision.expert, str(number), became).inc()
        self._count_costs(columns)
        for expert, usage in reported:
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
            ms=columns["latency_ms"],
        )
        try:
            if status == "cancelled":
                await self._recorder.submit_over_bound(row)
            else:
                await self._recorder.submit(row)
            if status == "ok" and any(said.calls or said.state for said in answers):
                await self._recorder.written(FLUSH_S)
        finally:
            self.in_flight.pop(decision.id, None)
            self._metrics.in_flight.dec()

    def _spent(self, reported: Sequence[tuple[str, TokenUsage]]) -> tuple[float | None, float | None]:
        """$ and B·tokens of all calls; None unless they are known of each."""
        costs: list[float | None] = []
        computes: list[float | None] = []
        for name, usage in reported:
            expert = self._registry.experts.get(name)
            costs.append(None if expert is None else usage_cost(expert.price, usage))
            both = usage.both
            computes.append(None if expert is None or both is None else sum(both) * expert.active_params_b)
        return _total(costs), _total(computes)

    def _count_costs(self, columns: Mapping[str, Any]) -> None:
        """Where both are known: what a difference means is seen on the same requests."""
        for unit, spent, alternative in (
            ("dollars", columns["cost"], columns["alternative_cost"]),
            ("b_tokens", columns["compute"], columns["alternative_compute"]),
        ):
            if spent is not None:
                self._metrics.spent.labels(columns["expert"], unit).inc(spent)
            if spent is not None and alternative is not None:
                self._metrics.compared.labels("actual", unit).inc(spent)
                self._metrics.compared.labels("alternative", unit).inc(alternative)


def _total(amounts: Sequence[float | None]) -> float | None:
    known = [each for each in amounts if each is not None]
    return sum(known) if known and len(known) == len(amounts) else None
