"""One chat request from its decision to its end, and the row that is kept of it."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from app.serving.decision_document import decision_document
from app.serving.prompting import Reading
from app.storage.rows import DecisionRow
from routers.decision import Decision
from routers.strategy_choice import give_up_strategy

if TYPE_CHECKING:
    from app.serving.strategy_trace import Trace

Status = Literal["ok", "error", "cancelled"]


class AnswerRecord:
    """Changes while the request is answered; `decision` is replaced when the request spills."""

    def __init__(
        self,
        decision: Decision,
        *,
        request_id: str,
        model: str,
        stream: bool,
        api_key: str | None,
        conversation: str | None,
        messages: list[Any] | None,
        started: float,
        reading: Reading | None = None,
    ) -> None:
        """`started` is on `time.perf_counter()`'s clock; `messages` None keeps no prompt."""
        self.decision = decision
        self.trace: Trace | None = None
        """What the strategy did; None when one expert answers."""
        self.reading = reading or Reading()
        self.request_id = request_id
        self.model = model
        self.stream = stream
        self.api_key = api_key
        self.conversation = conversation
        self.created_at = datetime.now(UTC)
        self._messages = messages
        self._started = started
        self.first_byte_s: float | None = None
        """Seconds from the request's arrival to the first byte of its answer."""
        self.finished = False

    @property
    def seconds(self) -> float:
        """Since the request's arrival."""
        return time.perf_counter() - self._started

    def first_byte(self) -> None:
        """The expert has begun to answer."""
        if self.first_byte_s is None:
            self.first_byte_s = self.seconds

    @property
    def document(self) -> dict[str, Any]:
        """The `routing` of the answer, as it is known now."""
        used = self.reading.use_of(self.decision.expert)
        return decision_document(self.decision, self.trace, used)

    def give_up_strategy(self, why: str) -> None:
        """One expert answers after all; `why` ends a sentence."""
        self.decision = give_up_strategy(self.decision, why)
        self.trace = None

    def row(
        self, status: str, http_status: int, *, error_code: str | None = None, usage: Any = None
    ) -> DecisionRow:
        """The decision with what became of it."""
        return DecisionRow(
            **self.document,
            created_at=self.created_at,
            request_id=self.request_id,
            api_key=self.api_key,
            conversation=self.conversation,
            model=self.model,
            stream=self.stream,
            status=status,
            http_status=http_status,
            error_code=error_code,
            latency_ms=_milliseconds(self.seconds),
            first_byte_ms=_milliseconds(self.first_byte_s),
            usage=usage if isinstance(usage, dict) else None,
            messages=self._messages,
        )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
