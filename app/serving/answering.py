"""The short path: one expert answers. Another one of the ranking does while nothing has been sent."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import structlog

from app.serving.answer_record import AnswerRecord
from app.serving.expert_access import ExpertAccess
from experts.errors import ExpertBusy, ExpertError, ExpertTimeout, ExpertUnavailable
from experts.expert import Expert
from experts.expert_replies import StreamEvent
from routers.decide import NoExpertFits, fall_back

REPLACEABLE = (ExpertUnavailable, ExpertBusy, ExpertTimeout)
"""Before its first byte, an expert that fails like this may be replaced by another one."""

log = structlog.get_logger(__name__)

Answered = TypeVar("Answered")


class Answering:
    """Asks the experts of a decision, best first, until one begins to answer."""

    def __init__(self, access: ExpertAccess, *, tries: int) -> None:
        """`tries`: experts that may be asked after the chosen one."""
        self._access = access
        self._tries = tries

    async def whole(self, record: AnswerRecord) -> dict[str, Any]:
        """A whole answer. `record.decision` names who gave it. Raises ExpertError."""
        chat, prompting = record.chat, self._access.prompting
        reply = await self._first_to_answer(
            record,
            lambda expert: prompting.complete(
                expert, chat.document, record.context, request_id=chat.request_id
            ),
        )
        record.expert_usage = reply.body.get("usage")
        return reply.body

    async def events(self, record: AnswerRecord) -> AsyncGenerator[Sequence[StreamEvent]]:
        """A streamed answer; its first item has the first chunk. Raises ExpertError."""
        chat, prompting = record.chat, self._access.prompting
        async with AsyncExitStack() as stack:
            stream = await self._first_to_answer(
                record,
                lambda expert: stack.enter_async_context(
                    prompting.stream(expert, chat.document, record.context, request_id=chat.request_id)
                ),
            )
            try:
                async for events in stream:
                    record.expert_usage = stream.usage
                    yield events
            except ExpertError as error:
                self._access.failed(record.decision.expert, error)
                raise

    async def _first_to_answer(
        self, record: AnswerRecord, ask: Callable[[Expert], Awaitable[Answered]]
    ) -> Answered:
        """What `ask` gets from the first expert that answers; `record.decision` names it."""
        access = self._access
        if not access.health.available(record.decision.expert):
            # When nobody seems up the chosen one is asked all the same: what is known may be old.
            self._fall_back(record, "its health check fails", access.down())
        tries, failed = self._tries, set[str]()
        while True:
            expert = access.registry.get(record.decision.expert)
            try:
                answered = await ask(expert)
            except ExpertError as error:
                access.failed(expert.name, error)
                failed |= access.same_server(expert)
                if tries < 1 or not isinstance(error, REPLACEABLE):
                    raise
                tries -= 1
                # Where everybody seems down, the next in the ranking is tried.
                if not self._fall_back(record, error.code, failed | access.down(), failed):
                    raise
                continue
            access.health.report_success(expert.name)
            return answered

    def _fall_back(self, record: AnswerRecord, why: str, *unavailable: set[str]) -> bool:
        """Move `record` to the next expert, by the first set that leaves one; False when none does, or
        when the client named this very expert: a pin is kept or refused, never replaced."""
        source = record.decision.expert
        for out in unavailable:
            try:
                record.decision = fall_back(record.decision, out, why)
            except NoExpertFits:
                continue
            log.info("spilled", spilled_from=source, expert=record.decision.expert)
            self._access.metrics.fallbacks.labels(source, record.decision.expert).inc()
            return True
        return False
