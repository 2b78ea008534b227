"""How a strategy asks experts: every call is booked against the request's limits, traced and reported.

The one way there is: a graph that wanted to ask past its limits would have to import the client itself.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

import structlog

from app.serving.prompt_budget import answer_room
from app.serving.prompting import IdentityUse, Prompting, PromptUse, Reading
from app.serving.records import AnswerRecord
from app.serving.strategy_trace import Status, Step, Trace
from app.strategies.chunks import (
    Chunk,
    as_completion,
    chunk_text,
    chunk_tokens,
    chunks_of,
    finish_reason,
    first_choice,
    text_of_message,
)
from app.strategies.limits import Account, Booking, LimitReached
from app.telemetry.metrics import Metrics
from app.telemetry.spans import known, tracer
from base.prices import token_cost
from base.usage import TokenUsage
from experts.confidence import ALTERNATIVES, Token, read_tokens
from experts.errors import ExpertError, ExpertTimeout
from experts.expert_replies import ReplyStream
from experts.health import HealthMonitor
from experts.outgoing import question_of
from experts.registry import Expert, Registry
from prompts.identities import MAX_TOKENS as IDENTITY_TOKENS

if TYPE_CHECKING:
    from opentelemetry.trace import Span

log = structlog.get_logger(__name__)

AT_WORK = (ExpertTimeout, LimitReached, asyncio.CancelledError)
"""What ends a call whose expert may have been at work all the while."""

Messages = Sequence[Mapping[str, Any]]


class _How(TypedDict):
    """How `Prompting` has to send a call, beside its body. `reading` is of this call alone."""

    reading: Reading
    request_id: str | None
    room: int
    plain: bool


@dataclass(frozen=True, slots=True)
class Said:
    """A whole answer of one expert. `completion` is the expert's own document."""

    expert: str
    completion: dict[str, Any]
    text: str
    tokens: tuple[Token, ...]
    step: Step

    @property
    def cut(self) -> bool:
        """Whether it ended for want of tokens."""
        return finish_reason(self.completion) == "length"


@dataclass(slots=True)
class Live:
    """An answer that is still coming. What was read stays in `chunks` until somebody passes it on."""

    expert: str
    step: Step
    calls: "Calls"
    booking: Booking
    stack: AsyncExitStack
    stream: ReplyStream
    source: AsyncIterator[Chunk]
    span: "Span"
    chunks: list[Chunk] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    pieces: int = 0
    """Chunks that said something: at least one token each."""
    done: bool = False

    async def read(self) -> Chunk | None:
        """The next chunk with a choice; None at the end. Raises ExpertError and LimitReached."""
        while not self.done:
            try:
                async with self.calls.within_time(self.expert):
                    chunk = await anext(self.source, None)
            except (ExpertError, LimitReached) as error:
                await self.close(error)
                raise
            if chunk is None:
                await self.close()
                return None
            if not first_choice(chunk):
                continue
            if chunk_text(chunk) or chunk_tokens(chunk):
                self.pieces += 1
                if self.step.first_token_s is None:
                    self.step.first_token_s = self.calls.trace.now_s - self.step.started_s
            self.tokens += chunk_tokens(chunk)
            self.chunks.append(chunk)
            return chunk
        return None

    async def rest(self) -> Said:
        """Read to the end and take it as a whole answer."""
        while await self.read() is not None:
            pass
        completion = as_completion(self.chunks)
        text = text_of_message(first_choice(completion).get("message"))
        return Said(self.expert, completion, text, tuple(self.tokens), self.step)

    async def close(self, error: Exception | None = None) -> None:
        """Stop the expert's work if it goes on, and settle the call. Safe to repeat."""
        if self.done and error is None:
            return
        finished = error is None and self.stream.finish_reason is not None
        self.done = True
        if self.step.status == "running":
            self.calls.settle(
                self.booking,
                self.step,
                self.stream.usage,
                max(self.pieces, len(self.tokens)),
                "ok" if finished else "cancelled",
                error,
                self.span,
            )
        await self.stack.aclose()


class Calls:
    """The calls of one request."""

    def __init__(
        self,
        prompting: Prompting,
        registry: Registry,
        health: HealthMonitor,
        metrics: Metrics,
        record: AnswerRecord,
        body: Mapping[str, Any],
        account: Account,
        trace: Trace,
    ) -> None:
        """`body` is the client's; its `messages`, `stream` and `model` give way to each call's own."""
        self.trace = trace
        self.account = account
        self.failed: set[str] = set()
        """Experts that have failed in this request."""
        self.last_error: ExpertError | None = None
        self.last_limit: LimitReached | None = None
        """The limit that last kept a call from being made, or stopped one."""
        self._prompting = prompting
        self._registry = registry
        self._health = health
        self._metrics = metrics
        self._record = record
        self._body = question_of(body)
        self._live: list[Live] = []

    async def complete(
        self,
        expert: str,
        *,
        node: str,
        purpose: str,
        messages: Messages | None = None,
        max_tokens: int | None = None,
        plain: bool = False,
        logprobs: bool = False,
        token_share: int | None = None,
        **fields: Any,
    ) -> Said:
        """Ask for a whole answer.

        `messages` None sends the client's. `plain` leaves the client's other fields (sampling,
        `response_format`, …) out: for questions of the strategy's own. `max_tokens` bounds the answer,
        beside the client's own bound and what the limits leave; `token_share` bounds prompt and answer
        together. Raises ExpertError, and LimitReached
        before anything is sent or when time is up.
        """
        entry = self._registry.get(expert)
        booking, step, body, how = self._prepare(
            entry, node, purpose, messages, max_tokens, plain, logprobs, token_share, fields
        )
        span = self._span(step)
        try:
            async with self.within_time(expert):
                reply = await self._prompting.complete(entry, body, **how)
        except BaseException as error:
            self.settle(booking, step, None, 0, "failed", error, span, whole=True)
            raise
        finally:
            self._note_reading(how, booking, step)
        first = first_choice(reply.body)
        tokens = tuple(read_tokens(first.get("logprobs")))
        text = text_of_message(first.get("message"))
        self.settle(booking, step, reply.body.get("usage"), len(tokens), "ok", None, span)
        return Said(expert, reply.body, text, tokens, step)

    async def open(
        self,
        expert: str,
        *,
        node: str,
        purpose: str,
        messages: Messages | None = None,
        max_tokens: int | None = None,
        plain: bool = False,
        logprobs: bool = False,
        token_share: int | None = None,
        **fields: Any,
    ) -> Live:
        """Ask for a streamed answer whose first event has come; like `complete` otherwise. Close it, or
        leave that to the end of the request."""
        entry = self._registry.get(expert)
        booking, step, body, how = self._prepare(
            entry, node, purpose, messages, max_tokens, plain, logprobs, token_share, fields
        )
        body = {**body, "stream_options": {"include_usage": True}}
        span = self._span(step)
        stack = AsyncExitStack()
        try:
            async with self.within_time(expert):
                stream = await stack.enter_async_context(self._prompting.stream(entry, body, **how))
        except BaseException as error:
            self.settle(booking, step, None, 0, "failed", error, span)
            await stack.aclose()
            raise
        finally:
            self._note_reading(how, booking, step)
        live = Live(expert, step, self, booking, stack, stream, chunks_of(stream), span)
        self._live.append(live)
        return live

    async def close(self) -> None:
        """Stop whatever still runs."""
        for live in self._live:
            await live.close()

    @asynccontextmanager
    async def within_time(self, expert: str) -> AsyncIterator[None]:
        """Raises LimitReached when the request's time is up before the block ends."""
        try:
            async with asyncio.timeout(max(0.0, self.account.seconds_left)):
                yield
        except TimeoutError:
            seconds = self.account.limits.seconds
            raise LimitReached(
                "seconds", f"the request's {seconds:g} s ended while {expert} worked"
            ) from None

    def settle(
        self,
        booking: Booking,
        step: Step,
        usage: Any,
        counted: int,
        status: Status,
        error: BaseException | None,
        span: "Span",
        *,
        whole: bool = False,
    ) -> None:
        """Note how a call ended. `usage` is what the server reported, `counted` the tokens that we saw.
        `whole`: an answer comes as a whole or not at all, so nobody sees what its expert did until it was
        stopped. What was set aside for that stays spent."""
        reported = TokenUsage.of(usage)
        prompt, answer = reported.prompt, reported.completion
        worked = status != "failed" or counted > 0 or isinstance(error, AT_WORK)
        step.estimated = (prompt is None or answer is None) and worked
        if not worked:
            prompt, answer = prompt or 0, answer or 0
        step.prompt_tokens = booking.prompt_tokens if prompt is None else prompt
        step.completion_tokens = counted if answer is None else answer
        step.cost = token_cost(booking.expert.price, step.prompt_tokens, step.completion_tokens)
        step.seconds = self.trace.now_s - step.started_s
        if not (whole and isinstance(error, AT_WORK)):
            self.account.settle(booking, step.prompt_tokens, step.completion_tokens)
        step.status = status
        if error is not None:
            self._note_failure(step, error)
        elif status == "ok":
            self._health.report_success(step.expert)
        self._metrics.strategy_calls.labels(self.trace.strategy, step.expert, step.status).inc()
        span.set_attributes(known(self._attributes(step)))
        span.end()

    def _note_reading(self, how: "_How", booking: Booking, step: Step) -> None:
        """Keep what one call found out of the request, and settle the call that was to be made before it."""
        ours, reading = self._record.reading, how["reading"]
        if how["plain"]:
            # A question of the strategy's own: the expert's prompt stands before it as always, but it does
            # not tell what stood before the client's.
            reading.used[step.expert] = PromptUse(prompt=booking.expert.prompt)
            ours.used = reading.used | ours.used
        else:
            ours.used |= reading.used
        step.used = reading.use_of(step.expert)
        if ours.embedding is None:
            ours.embedding = reading.embedding
        if booking.before is not None:
            self._settle_identity(booking.before, step, reading.use_of(step.expert).identity)

    def _settle_identity(self, booking: Booking, step: Step, identity: IdentityUse | None) -> None:
        """A step of its own for the call that wrote the expert's identity, if it was made."""
        if identity is None or not identity.calls:
            self.account.give_back(booking)
            return
        written = Step(step.node, step.expert, "identity", step.started_s, "ok", identity.ms / 1000)
        written.prompt_tokens, written.completion_tokens = identity.prompt_tokens, identity.completion_tokens
        written.cost = token_cost(booking.expert.price, written.prompt_tokens, written.completion_tokens)
        written.active_params_b = step.active_params_b
        written.used = PromptUse(prompt=booking.expert.prompt)
        self.trace.steps.insert(self.trace.steps.index(step), written)
        self.account.settle(booking, written.prompt_tokens, written.completion_tokens)

    def _note_failure(self, step: Step, error: BaseException) -> None:
        if isinstance(error, ExpertError):
            step.status, step.detail = "failed", error.message
            self.failed.add(step.expert)
            self.last_error = error
            self._health.report_failure(step.expert, error)
            log.warning("expert_failed", expert=step.expert, code=error.code, strategy=self.trace.strategy)
        elif isinstance(error, LimitReached):
            step.status, step.detail = "cancelled", _sentence(error)
            self.last_limit = error
        elif isinstance(error, asyncio.CancelledError):
            step.status, step.detail = "cancelled", "Nobody waited for it any more."
        else:
            step.status, step.detail = "failed", f"It failed with {type(error).__name__}."

    def _prepare(
        self,
        expert: Expert,
        node: str,
        purpose: str,
        messages: Messages | None,
        max_tokens: int | None,
        plain: bool,
        logprobs: bool,
        token_share: int | None,
        fields: Mapping[str, Any],
    ) -> tuple[Booking, Step, dict[str, Any], "_How"]:
        """Book the call, make its body, and say how `Prompting` has to send it. Raises LimitReached."""
        body = {} if plain else dict(self._body)
        body["messages"] = list(self._body["messages"] if messages is None else messages)
        body |= fields
        # The client's own limit, not the strategy's: so that the same stands in front as for one expert.
        how = _How(
            reading=self._record.reading.again(),
            request_id=self._record.request_id,
            plain=plain,
            room=answer_room(expert, body),
        )
        name = "max_completion_tokens" if body.get("max_completion_tokens") else "max_tokens"
        bounds = [each for each in (body.get(name), max_tokens) if each]
        default = expert.sampling.get("max_tokens") or expert.sampling.get("max_completion_tokens")
        if not bounds and isinstance(default, int):
            bounds = [default]
        wanted = min(bounds) if bounds else None
        step = self.trace.begin(node, expert.name, purpose, expert.active_params_b)
        try:
            most = self._prompting.prompt_tokens(expert, body, how["reading"], room=how["room"], plain=plain)
            before = None
            if most.writing is not None:
                before = self.account.book(
                    expert, most.writing, IDENTITY_TOKENS, token_share, least=IDENTITY_TOKENS
                )
                if token_share is not None:
                    token_share -= before.tokens
            try:
                booking = self.account.book(expert, most.asking, wanted, token_share)
            except LimitReached:
                if before is not None:
                    self.account.give_back(before)
                raise
            booking.before = before
        except LimitReached as error:
            step.status, step.detail = "refused", _sentence(error)
            self.last_limit = error
            raise
        if booking.bounded:
            body[name] = booking.answer_tokens
        if logprobs:
            wished = body.get("top_logprobs")
            body["logprobs"] = True
            body["top_logprobs"] = max(ALTERNATIVES, wished if isinstance(wished, int) else 0)
        return booking, step, body, how

    def _span(self, step: Step) -> "Span":
        return tracer().start_span("coterie.call", attributes=known(self._attributes(step)))

    def _attributes(self, step: Step) -> dict[str, str | int | float | bool | None]:
        return {
            "coterie.strategy": self.trace.strategy,
            "coterie.expert": step.expert,
            "coterie.node": step.node,
            "coterie.purpose": step.purpose,
            "coterie.status": step.status,
            "coterie.confidence": step.confidence,
            "coterie.cost": step.cost,
            "gen_ai.request.model": step.expert,
            "gen_ai.usage.input_tokens": step.prompt_tokens,
            "gen_ai.usage.output_tokens": step.completion_tokens,
        }


def _sentence(error: LimitReached) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
