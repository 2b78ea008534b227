"""The short path: one expert answers. Falls back to the next of the ranking before the first byte."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import structlog

from app.serving.answer_record import AnswerRecord
from app.serving.expert_access import ExpertAccess
from experts.errors import ContextTooLong, ExpertError, ExpertRejected, NotStreamed
from experts.expert import DialectName, Expert
from experts.expert_replies import ReplyStream, StreamEvent
from routers.decide import NoExpertFits, fall_back
from routers.decision import Decision, Reason

log = structlog.get_logger(__name__)


class Answering:
    """Asks the experts of a decision, best first, until one begins to answer."""

    def __init__(self, access: ExpertAccess, *, tries: int) -> None:
        """`tries`: experts that may be asked after the chosen one."""
        self._access = access
        self._tries = tries

    async def whole(self, record: AnswerRecord) -> dict[str, Any]:
        """A whole answer, in the client's own dialect where `record.native` says so. `record.decision` names
        who gave it. Raises ExpertError."""
        attempts = _Attempts(self._access, record, self._tries)
        while True:
            dialect, document = attempts.question
            try:
                reply = await self._access.prompting.complete(
                    attempts.expert, document, record.context, dialect=dialect
                )
            except ExpertError as error:
                if not attempts.failed(error):
                    raise
                continue
            attempts.succeeded()
            record.expert_usage = reply.usage
            return reply.body

    async def events(self, record: AnswerRecord) -> AsyncGenerator[Sequence[StreamEvent]]:
        """A streamed answer; its first item has the first chunk. Raises ExpertError."""
        attempts = _Attempts(self._access, record, self._tries)
        while True:
            dialect, document = attempts.question
            asked = self._access.prompting.stream(attempts.expert, document, record.context, dialect=dialect)
            begun = False
            try:
                async with asked as stream:
                    begun = True
                    attempts.begun()
                    async for events in stream:
                        record.expert_usage = stream.usage
                        yield events
                    attempts.succeeded()
                    return
            except ExpertError as error:
                if attempts.failed(error, final=begun):
                    continue
                if begun or (completion := attempts.take_whole()) is None:
                    raise
                # Nobody else answers, and this answer is whole.
                stream = await ReplyStream.of_whole(attempts.expert, completion)
                attempts.succeeded()
                async for events in stream:
                    record.expert_usage = stream.usage
                    yield events
                return


class _Attempts:
    """The experts that one request asks, one after the other; `record.decision` names the present one."""

    def __init__(self, access: ExpertAccess, record: AnswerRecord, tries: int) -> None:
        self._access = access
        self._record = record
        self._tries = tries
        self._out: set[str] = set()
        """Experts that failures rule out."""
        self._translated: set[str] = set()
        """Experts whose servers refused the client's own document: they get the chat form of it."""
        self._whole: tuple[Decision, dict[str, Any]] | None = None
        """The first whole answer that came where a stream was asked for."""
        if not access.health.available(record.decision.expert):
            # When nobody seems up the chosen one is asked all the same: what is known may be old.
            waits = access.health.backoff_s(record.decision.expert) > 0
            self._fall_back("its server asked to wait" if waits else "its health check fails", access.down())

    @property
    def expert(self) -> Expert:
        return self._access.registry.get(self._record.decision.expert)

    @property
    def question(self) -> tuple[DialectName, Mapping[str, Any]]:
        """What to ask the present expert, and in which dialect; `record.native` says it too."""
        chat, expert = self._record.chat, self.expert
        native = chat.native
        self._record.native = (
            native is not None
            and expert.name not in self._translated
            and self._access.prompting.speaks(expert, chat.dialect)
            # vLLM goes on with a last message of the assistant as a chat alone; its Messages begin a new one.
            and not (expert.local is not None and chat.document.get("continue_final_message"))
        )
        if native is None or not self._record.native:
            return "chat", chat.document
        return chat.dialect, native

    def begun(self) -> None:
        self._access.health.report_begun(self.expert.name)

    def succeeded(self) -> None:
        self._access.health.report_success(self.expert.name)

    def failed(self, error: ExpertError, *, final: bool = False) -> bool:
        """Report the failure and move on to the next expert. False when there is none, when no other expert
        could do better, and when the answer had begun (`final`)."""
        if not final and self._translates(error):
            self._translated.add(self.expert.name)
            return True
        self._access.failed(self.expert.name, error)
        if isinstance(error, NotStreamed) and self._whole is None:
            self._whole = self._record.decision, error.completion
        self._out |= self._access.sharing(self.expert, error)
        self._tries -= 1
        moved = not final and self._tries >= 0 and error.replaceable and self._next(error)
        if not moved and isinstance(error, ContextTooLong):
            error.add(f"The largest context of an expert has {self._largest_context:,} tokens.")
        return moved

    def take_whole(self) -> dict[str, Any] | None:
        """The whole answer of an expert that was to stream it, which `record.decision` then names again; None
        when there is none."""
        if self._whole is None:
            return None
        self._record.decision, completion = self._whole
        self._record.native = False
        return completion

    def _translates(self, error: ExpertError) -> bool:
        """Whether the same expert is to be asked once more, in chat's form: servers know less of a dialect
        than our translation of it (vLLM refuses Anthropic's documents and its shell tool)."""
        return (
            self._record.native
            and not self._record.chat.native_only
            and self._record.chat.dialect != "completions"
            and isinstance(error, ExpertRejected)
            and not isinstance(error, ContextTooLong)
        )

    def _next(self, error: ExpertError) -> bool:
        """Move on to the next expert. Where everybody seems down, the next in the ranking is tried."""
        outs = self._out | self._access.down(), self._out
        if isinstance(error, ContextTooLong):
            return self._fall_back("its server says that it is too long", *outs, reason=Reason.FILTERED)
        return self._fall_back(error.code, *outs)

    @property
    def _largest_context(self) -> int:
        choices = self._record.decision.ranking
        return max(self._access.registry.get(choice.expert).context_length for choice in choices)

    def _fall_back(self, why: str, *unavailable: set[str], reason: Reason = Reason.SPILLED) -> bool:
        """Take the next expert, by the first set that leaves one; False when none does, or when the client
        named this very expert: a pin is kept or refused, never replaced."""
        source = self._record.decision.expert
        for out in unavailable:
            try:
                decision = self._fallen_back(out, why, reason)
            except NoExpertFits:
                continue
            self._record.decision = decision
            log.info(reason.value, spilled_from=source, expert=decision.expert)
            self._access.metrics.fallbacks.labels(source, decision.expert).inc()
            return True
        return False

    def _fallen_back(self, out: set[str], why: str, reason: Reason) -> Decision:
        """The decision for the next expert; a dearer one counts as an escalation, and is passed over
        where the quota of the caller's key has none left. Raises NoExpertFits."""
        record, quota = self._record, self._access.quota
        decision = fall_back(record.decision, out, why, reason)
        if quota is None:
            return decision
        dear = record.context.dear
        admitted = quota.admit_fallback(record.chat.api_key, decision, dear)
        return fall_back(record.decision, out | dear, why, reason) if admitted is None else admitted
