"""Shadow runs: a sample of live requests, answered by other experts too, off the request path.

The client has its answer before anybody else is asked. One bounded queue, few requests at once, and limits
on tokens and dollars a day; whatever does not fit is dropped and written down as dropped. Answers go to
the database beside the decision; people or judges rate them there like any other answer.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from app.errors import ServiceError
from app.serving.answer_record import AnswerRecord
from app.serving.expert_access import ExpertAccess
from app.serving.prompt_budget import answer_room, context_left, own_limits
from app.serving.request_context import RequestContext
from app.serving.shadow_budget import Budget, OwnBudget
from app.settings import Settings
from app.storage.database import Database
from app.storage.queries import shadow_spending
from app.storage.recorder import Recorder
from app.storage.rows import NewRow, ShadowRow
from base.ids import new_id
from base.prices import token_cost
from base.usage import TokenUsage
from experts.admission import Caller
from experts.errors import ExpertError, ExpertTimeout
from experts.expert import Expert
from experts.outgoing import question_of
from experts.samples import samples_for
from prompts.identities import MAX_TOKENS as IDENTITY_TOKENS
from routers.decision import Decision, Reason
from routers.request import Turn

SHADOW_PREFIX = "shd_"

NOT_ROUTED = frozenset({Reason.PINNED, Reason.RULE, Reason.HELD})
"""Reasons with which no composition chose: a canary says nothing about such requests."""

log = structlog.get_logger(__name__)

_Tokens = tuple[int, int]
"""Of prompts, and of answers."""


@dataclass(frozen=True, slots=True)
class _Task:
    shadow_id: str
    decision_id: str
    expert: Expert
    body: Mapping[str, Any]
    context: RequestContext
    """Of this task alone: it says afterwards what was put in front."""


@dataclass(frozen=True, slots=True)
class _Call:
    """What is sent for a task, and the most that it can take: the answer, and an identity written before
    it. `room`: tokens of context that what is put in front leaves to the answer."""

    body: Mapping[str, Any]
    room: int
    answer: _Tokens
    identity: _Tokens


class Shadow:
    """Asks other experts what live requests asked one. `start` it, `offer` requests, `stop` it."""

    def __init__(
        self,
        settings: Settings,
        access: ExpertAccess,
        database: Database,
        recorder: Recorder,
        other_choice: Callable[[Decision, Sequence[Turn]], Awaitable[str | None]],
        budget: Budget | None = None,
    ) -> None:
        """`other_choice`: the expert that the other composition would have asked, None without a canary.
        `budget`: what workers spend together; None: this process alone spends what `settings` allow.
        Raises `UnknownExpert` for a name in `settings.shadow_experts` that the registry lacks."""
        self._settings = settings
        self._access = access
        self._database = database
        self._recorder = recorder
        self._other_choice = other_choice
        names = [each.strip() for each in (settings.shadow_experts or "").split(",")]
        self._experts = frozenset(access.registry.get(name).name for name in names if name)
        self._queue: asyncio.Queue[_Task] = asyncio.Queue(settings.shadow_queue)
        self._budget = budget or OwnBudget(settings.shadow_tokens_per_day, settings.shadow_price_per_day)
        self._workers: list[asyncio.Task[None]] = []

    @property
    def on(self) -> bool:
        """Whether any request is sampled."""
        return self._settings.shadow_rate > 0

    @property
    def waiting(self) -> int:
        """Answers that are still to be asked for."""
        return self._queue.qsize()

    async def start(self) -> None:
        """Read what today has cost already, and begin to work."""
        if not self.on:
            return
        if not self._settings.store_prompts:
            log.warning("shadow_answers_not_kept", remedy="set COTERIE_STORE_PROMPTS to score them later")
        now = datetime.now(UTC)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        async with self._database.session() as session:
            tokens, price = await shadow_spending(session, midnight)
        self._budget.begin(now.date(), tokens, price)
        count = self._settings.shadow_concurrency
        self._workers = [asyncio.create_task(self._work(), name=f"shadow-{each}") for each in range(count)]

    async def stop(self) -> None:
        """Ask nobody any more; what still waits is dropped and written down as dropped."""
        for worker in self._workers:
            worker.cancel()
        for worker in self._workers:
            with suppress(asyncio.CancelledError):
                await worker
        self._workers = []
        while not self._queue.empty():
            await self._drop(self._queue.get_nowait(), "service_stopped")

    async def offer(self, record: AnswerRecord) -> None:
        """Queue shadow answers to an answered request, if it is in the sample. Never waits for an expert."""
        decision = record.decision
        if not self._workers or not self._sampled(decision.id):
            return
        asked = question_of(record.chat.document)
        for expert in await self._asked(record):
            shadow_id = new_id(SHADOW_PREFIX)
            context = record.context.fresh(shadow_id)
            # Nobody waits for it.
            context.caller = Caller(context.caller.key, "batch", context.caller.session)
            task = _Task(shadow_id, decision.id, expert, asked, context)
            try:
                self._queue.put_nowait(task)
            except asyncio.QueueFull:
                await self._drop(task, "queue_full")

    def _sampled(self, decision_id: str) -> bool:
        digest = hashlib.sha256(f"shadow:{self._settings.explore_seed}:{decision_id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64 < self._settings.shadow_rate

    async def _asked(self, record: AnswerRecord) -> list[Expert]:
        """Whom to ask: with a canary the one that the other composition would have asked, which compares the
        two on the same request; else all others that could have answered."""
        others = self._others(record.decision)
        if record.decision.reason in NOT_ROUTED:
            return others
        try:
            chosen = await self._other_choice(record.decision, record.context.turns)
        except ServiceError:
            return []
        return others if chosen is None else [each for each in others if each.name == chosen]

    def _others(self, decision: Decision) -> list[Expert]:
        """The experts that could have answered and did not."""
        able = [each.expert for each in decision.ranking if each.excluded is None]
        return [
            self._access.registry.get(name)
            for name in able
            if name != decision.expert
            and name in self._access.registry.experts
            and (not self._experts or name in self._experts)
        ]

    async def _work(self) -> None:
        while True:
            task = await self._queue.get()
            try:
                await self._answer(task)
            except asyncio.CancelledError:
                await self._drop(task, "service_stopped")
                raise
            except Exception as error:  # a worker that dies would end shadowing without a word
                log.error("shadow_failed", expert=task.expert.name, error=type(error).__name__)

    async def _answer(self, task: _Task) -> None:
        expert = task.expert
        if not self._access.health.available(expert.name):
            await self._drop(task, "expert_unavailable")
            return
        day = datetime.now(UTC).date()
        call = await self._call(task)
        reserved = _sum(call.answer, call.identity)
        reserved_price = token_cost(expert.price, *reserved) or 0.0
        if not self._budget.reserve(sum(reserved), reserved_price, day):
            await self._drop(task, "spending_limit")
            return
        started = time.perf_counter()
        status, code, usage, text = "ok", None, None, None
        counted: _Tokens | None = (0, 0)
        late = False
        try:
            reply = await self._access.prompting.complete(expert, call.body, task.context, room=call.room)
            usage = reply.body.get("usage")
            counted = TokenUsage.of(usage).both or call.answer
            text = _text(reply.body)
        except ExpertError as error:
            status, code = "error", error.code
            if late := isinstance(error, ExpertTimeout):
                counted = call.answer  # it was at work all the while
        except asyncio.CancelledError:
            # Its server may have worked already: what was reserved stays spent.
            counted = None
            raise
        finally:
            if counted is not None:
                written = task.context.use_of(expert.name).identity
                if written is not None:  # a call of its own, before the answer's
                    counted = _sum(counted, (written.prompt_tokens, written.completion_tokens))
                elif late:  # without a word of it: that call itself took too long, if there was one
                    counted = _sum(counted, call.identity)
                tokens, price = sum(counted), token_cost(expert.price, *counted) or 0.0
                self._budget.settle(day, tokens - sum(reserved), price - reserved_price)
        await self._recorder.submit(
            self._row(
                task,
                status,
                code,
                latency_ms=round((time.perf_counter() - started) * 1000, 3),
                usage=TokenUsage.of(usage).document(),
                tokens=tokens,
                price=price,
                answer=text if self._settings.store_prompts else None,
                **task.context.use_of(expert.name).document(),
            )
        )

    async def _drop(self, task: _Task, why: str) -> None:
        log.warning("shadow_dropped", expert=task.expert.name, decision=task.decision_id, why=why)
        await self._recorder.submit_over_bound(self._row(task, "dropped", why))

    def _row(self, task: _Task, status: str, code: str | None, **more: Any) -> NewRow:
        self._access.metrics.shadows.labels(task.expert.name, status).inc()
        columns = {
            "id": task.shadow_id,
            "decision_id": task.decision_id,
            "created_at": datetime.now(UTC),
            "expert": task.expert.name,
            "status": status,
            "error_code": code,
        }
        return NewRow(ShadowRow, columns | more)

    async def _call(self, task: _Task) -> _Call:
        room = answer_room(task.expert, task.body)
        prompts = await self._access.prompting.prompt_tokens(task.expert, task.body, task.context, room=room)
        identity = (0, 0) if prompts.writing is None else (prompts.writing, IDENTITY_TOKENS)
        body, limit = task.body, task.body.get("max_completion_tokens") or task.body.get("max_tokens")
        if not isinstance(limit, int):
            # No longer than the context leaves: else what stands in front would have to go for it. Nor
            # longer than the expert's own sampling lets it answer a client.
            longest = self._settings.shadow_max_tokens, *own_limits(task.expert)
            limit = min(*longest, context_left(task.expert, prompts.asking))
            body = {**body, "max_tokens": limit}
        return _Call(body, room, (prompts.asking, limit * samples_for(task.expert, body)), identity)


def _sum(one: _Tokens, other: _Tokens) -> _Tokens:
    return one[0] + other[0], one[1] + other[1]


def _text(body: Mapping[str, Any]) -> str | None:
    """The answer's text; of one without text, its message as JSON (tool calls, for instance)."""
    message = body["choices"][0]["message"]
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, str):
        return content.replace("\0", "").encode("utf-8", "replace").decode()
    return json.dumps(message)
