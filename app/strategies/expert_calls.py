"""How a strategy asks experts: every call is booked against the request's limits, traced and reported.

Graphs have no other way to an expert.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.serving.answer_record import AnswerRecord
from app.serving.expert_access import ExpertAccess
from app.serving.prompt_budget import answer_room
from app.serving.request_context import IdentityUse, PromptUse, RequestContext
from app.serving.strategy_trace import Status, Step, Trace
from app.strategies.chunks import (
    Chunk,
    as_completion,
    chunk_text,
    chunk_tokens,
    chunks_of,
    first_choice,
)
from app.strategies.limits import Account, Booking, LimitReached
from app.telemetry.spans import known, tracer
from base.prices import token_cost
from base.reply_text import text_of_message
from base.usage import TokenUsage
from experts.confidence import ALTERNATIVES, Token, read_tokens
from experts.errors import ExpertError, ExpertTimeout, NotStreamed
from experts.expert_replies import ReplyStream
from experts.outgoing import question_of
from experts.registry import Expert
from experts.samples import samples_for
from prompts.identities import MAX_TOKENS as IDENTITY_TOKENS

if TYPE_CHECKING:
    from opentelemetry.trace import Span

AT_WORK = (ExpertTimeout, LimitReached, asyncio.CancelledError)
"""Errors that end a call whose expert may have used tokens until then."""

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ExpertCall:
    """One question to one expert. `node` and `purpose` are for the trace.

    `messages` None sends the client's. `plain` leaves the client's other fields (sampling,
    `response_format`, …) out, and what is put in front of its request: for questions of the strategy's
    own. `max_tokens` bounds the answer, beside the client's own bound and what the limits leave;
    `token_share` bounds prompt and answer together. `fields` go into the body as they are.
    """

    expert: str
    node: str
    purpose: str
    messages: Messages | None = None
    max_tokens: int | None = None
    plain: bool = False
    logprobs: bool = False
    token_share: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, expert: str, node: str, purpose: str, **said: Any) -> "ExpertCall":
        """What is no field of a call goes into its body."""
        ours = {name: said.pop(name) for name in list(said) if name in cls.__dataclass_fields__}
        return cls(expert, node, purpose, **ours, fields=said)


@dataclass(frozen=True, slots=True)
class _Booked:
    """A call as it is sent: `context` is of this call alone, `room` for its answer."""

    call: ExpertCall
    expert: Expert
    booking: Booking
    step: Step
    body: dict[str, Any]
    context: RequestContext
    room: int
    span: "Span"


@dataclass(frozen=True, slots=True)
class ExpertAnswer:
    """A whole answer of one expert. `completion` is the expert's own document."""

    expert: str
    completion: dict[str, Any]
    text: str
    tokens: tuple[Token, ...]
    step: Step


@dataclass(slots=True)
class OpenAnswer:
    """An answer that is still coming. What was read stays in `chunks` until somebody passes it on."""

    calls: "ExpertCalls"
    booked: _Booked
    stack: AsyncExitStack
    stream: ReplyStream
    source: AsyncIterator[Chunk]
    chunks: list[Chunk] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    pieces: int = 0
    """Chunks with text: at least one token each."""
    done: bool = False

    @property
    def expert(self) -> str:
        return self.booked.call.expert

    @property
    def step(self) -> Step:
        return self.booked.step

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

    async def rest(self) -> ExpertAnswer:
        """Read to the end and take it as a whole answer."""
        while await self.read() is not None:
            pass
        completion = as_completion(self.chunks)
        text = text_of_message(first_choice(completion).get("message"))
        return ExpertAnswer(self.expert, completion, text, tuple(self.tokens), self.step)

    async def close(self, error: Exception | None = None) -> None:
        """Stop the expert's work if it goes on, and settle the call. Safe to repeat."""
        if self.done and error is None:
            return
        finished = error is None and self.stream.finish_reason is not None
        self.done = True
        if self.step.status == "running":
            counted = max(self.pieces, len(self.tokens))
            status: Status = "ok" if finished else "cancelled"
            self.calls.settle(self.booked, self.stream.usage, counted, status, error)
        await self.stack.aclose()


class ExpertCalls:
    """The calls of one request."""

    def __init__(self, access: ExpertAccess, record: AnswerRecord, account: Account, trace: Trace) -> None:
        """The client's `messages`, `stream` and `model` give way to each call's own."""
        self.trace = trace
        self.account = account
        self.failed: set[str] = set()
        """Experts that have failed in this request."""
        self.last_error: ExpertError | None = None
        self.last_limit: LimitReached | None = None
        """The limit that last kept a call from being made, or stopped one."""
        self._access = access
        self._record = record
        self._body = question_of(record.chat.document)
        self._open: list[OpenAnswer] = []

    async def complete(self, call: ExpertCall) -> ExpertAnswer:
        """Ask for a whole answer. Raises ExpertError, and LimitReached before anything is sent or when
        time is up."""
        booked = await self._book(call)
        try:
            async with self.within_time(call.expert):
                reply = await self._access.prompting.complete(
                    booked.expert, booked.body, booked.context, room=booked.room, plain=call.plain
                )
        except BaseException as error:
            self.settle(booked, None, 0, "failed", error, whole=True)
            raise
        finally:
            self._note_context(booked)
        first = first_choice(reply.body)
        tokens = tuple(read_tokens(first.get("logprobs")))
        text = text_of_message(first.get("message"))
        self.settle(booked, reply.body.get("usage"), len(tokens), "ok", None)
        return ExpertAnswer(call.expert, reply.body, text, tokens, booked.step)

    async def open(self, call: ExpertCall) -> OpenAnswer:
        """Ask for a streamed answer whose first event has come; like `complete` otherwise. Close it, or
        leave that to the end of the request."""
        booked = await self._book(call)
        asked = self._access.prompting.stream(
            booked.expert, booked.body, booked.context, room=booked.room, plain=call.plain
        )
        stack = AsyncExitStack()
        try:
            async with self.within_time(call.expert):
                try:
                    stream = await stack.enter_async_context(asked)
                except NotStreamed as whole:
                    stream = await ReplyStream.of_whole(booked.expert, whole.completion)
        except BaseException as error:
            self.settle(booked, None, 0, "failed", error)
            await stack.aclose()
            raise
        finally:
            self._note_context(booked)
        answer = OpenAnswer(self, booked, stack, stream, chunks_of(stream))
        self._open.append(answer)
        return answer

    async def close(self) -> None:
        """Stop whatever still runs."""
        for answer in self._open:
            await answer.close()

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
        booked: _Booked,
        usage: Any,
        counted: int,
        status: Status,
        error: BaseException | None,
        *,
        whole: bool = False,
    ) -> None:
        """Note how a call ended. `usage` is what the server reported, `counted` the tokens that we saw.
        `whole`: an answer comes as a whole or not at all, so nobody sees what its expert did until it was
        stopped. What was set aside for that stays spent."""
        booking, step = booked.booking, booked.step
        step.reported = TokenUsage.of(usage)
        prompt, answer = step.reported.prompt, step.reported.completion
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
            self._access.health.report_success(step.expert)
        self._access.metrics.strategy_calls.labels(self.trace.strategy, step.expert, step.status).inc()
        booked.span.set_attributes(known(self._attributes(step)))
        booked.span.end()

    def _note_context(self, booked: _Booked) -> None:
        """Keep what one call found out of the request, and settle the call that was to be made before it."""
        ours, found, step = self._record.context, booked.context, booked.step
        if booked.call.plain:
            # A question of the strategy's own: the expert's prompt stands before it as always, but it does
            # not tell what stood before the client's.
            found.used[step.expert] = PromptUse(prompt=booked.expert.prompt)
            ours.used = found.used | ours.used
        else:
            ours.used |= found.used
        step.used = found.use_of(step.expert)
        if ours.embedding is None:
            ours.embedding = found.embedding
        if booked.booking.before is not None:
            self._settle_identity(booked.booking.before, step, step.used.identity)

    def _settle_identity(self, booking: Booking, step: Step, identity: IdentityUse | None) -> None:
        """A step of its own for the call that wrote the expert's identity, if it was made."""
        if identity is None or not identity.calls:
            self.account.give_back(booking)
            return
        written = Step(step.node, step.expert, "identity", step.started_s, "ok", identity.ms / 1000)
        written.prompt_tokens, written.completion_tokens = identity.prompt_tokens, identity.completion_tokens
        written.reported = TokenUsage(identity.prompt_tokens, identity.completion_tokens)
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
            self._access.failed(step.expert, error, strategy=self.trace.strategy)
        elif isinstance(error, LimitReached):
            step.status, step.detail = "cancelled", _sentence(error)
            self.last_limit = error
        elif isinstance(error, asyncio.CancelledError):
            step.status, step.detail = "cancelled", "Nobody waited for it any more."
        else:
            step.status, step.detail = "failed", f"It failed with {type(error).__name__}."

    async def _book(self, call: ExpertCall) -> _Booked:
        """Set aside what the call may cost, and make its body. Raises LimitReached."""
        expert = self._access.registry.get(call.expert)
        body = {} if call.plain else dict(self._body)
        body["messages"] = list(self._body["messages"] if call.messages is None else call.messages)
        body |= call.fields
        context, share = self._record.context.fresh(), call.token_share
        # The client's own limit, not the strategy's: so that the same stands in front as for one expert.
        room = answer_room(expert, body)
        name = "max_completion_tokens" if body.get("max_completion_tokens") else "max_tokens"
        bounds = [each for each in (body.get(name), call.max_tokens) if each]
        default = expert.sampling.get("max_tokens") or expert.sampling.get("max_completion_tokens")
        if not bounds and isinstance(default, int):
            bounds = [default]
        wanted = min(bounds) if bounds else None
        prompting = self._access.prompting
        most = await prompting.prompt_tokens(expert, body, context, room=room, plain=call.plain)
        step = self.trace.begin(call.node, expert.name, call.purpose, expert.active_params_b)
        try:
            before = None
            if most.writing is not None:
                before = self.account.book(
                    expert, most.writing, IDENTITY_TOKENS, share, least=IDENTITY_TOKENS
                )
                share = None if share is None else share - before.tokens
            try:
                samples = samples_for(expert, body)
                booking = self.account.book(expert, most.asking, wanted, share, samples=samples)
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
        if call.logprobs:
            wished = body.get("top_logprobs")
            body["logprobs"] = True
            body["top_logprobs"] = max(ALTERNATIVES, wished if isinstance(wished, int) else 0)
        span = tracer().start_span("coterie.call", attributes=known(self._attributes(step)))
        return _Booked(call, expert, booking, step, body, context, room, span)

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
