"""One request at the replicas of an expert: another one after a failure, or beside a slow one, before the
first text.

Asking twice is safe then: nobody has seen an answer. Knows nothing of HTTP.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import structlog

from experts.admission import Admission, Caller, Slot
from experts.circuit import is_failure
from experts.errors import ExpertBusy, ExpertError, QueueFull
from experts.expert import Expert
from experts.expert_replies import ReplicaUse, ReplyStream
from experts.replicas.choice import session_hash
from experts.replicas.pool import Asked, ReplicaPool
from experts.replicas.prompt_blocks import prompt_blocks

RETRIES = 2
"""Further replicas that one request is tried at."""

log = structlog.get_logger(__name__)

Reply = TypeVar("Reply")
Ask = Callable[[contextlib.AsyncExitStack, Expert], Awaitable[Reply]]
_Begun = tuple[Any, contextlib.AsyncExitStack, Slot]


def asked_of(expert: Expert, out: Mapping[str, Any], caller: Caller) -> Asked:
    """An outgoing request as the choice of a replica sees it."""
    blocks = prompt_blocks(expert.model, out)
    # A caller that names no conversation is recognised by how its prompt begins.
    session = session_hash(caller.session) if caller.session else (blocks[0] if blocks else 0) & (2**64 - 1)
    return Asked(expert.model, blocks, session, caller.replica, caller.share, caller.held)


def goes_elsewhere(error: ExpertError) -> bool:
    """Whether another replica may do better."""
    return is_failure(error) or (isinstance(error, ExpertBusy) and not isinstance(error, QueueFull))


async def begun_at_a_replica(
    admission: Admission,
    expert: Expert,
    caller: Caller,
    asked: Asked,
    stack: contextlib.AsyncExitStack,
    ask: "Ask[Reply]",
) -> tuple[Reply, ReplicaUse, Slot]:
    """What `ask` gets at the first replica that begins to answer, in a place that `stack` holds. Raises
    `ExpertError`: the last one's."""
    pool = admission.pool(expert)
    if pool is None:
        raise ValueError(f"{expert.name} has no replicas")
    attempts = _Attempts(admission, pool, expert, caller, asked, ask)
    reply, held, slot = await attempts.begun()
    await stack.enter_async_context(held)
    use = ReplicaUse(
        pool.ids[slot.number], slot.number + 1, len(pool), tuple(attempts.failed), attempts.hedged
    )
    return reply, use, slot


class _Attempts:
    def __init__(
        self,
        admission: Admission,
        pool: ReplicaPool,
        expert: Expert,
        caller: Caller,
        asked: Asked,
        ask: "Ask[Any]",
    ) -> None:
        self._admission = admission
        self._pool = pool
        self._expert = expert
        self._caller = caller
        self._asked = asked
        self._ask = ask
        self.failed: list[tuple[int, str]] = []
        self.hedged = False

    async def begun(self) -> _Begun:
        """The first reply that begins, the stack that holds its place and connection, and its place."""
        hedge = self._expert.hedge
        if hedge is None or self._asked.held:
            return await self._in_turn()
        self._pool.hedges.request(hedge.share)
        racing = [asyncio.create_task(self._in_turn())]
        try:
            await asyncio.wait(racing, timeout=hedge.after_s)
            if not racing[0].done() and self._may_hedge():
                self.hedged = True
                racing.append(asyncio.create_task(self._in_turn()))
            return await _first_result(racing)
        except asyncio.CancelledError:
            for each in racing:
                await _let_go(each)
            raise

    async def _in_turn(self) -> _Begun:
        """Replica after replica until one begins."""
        while True:
            async with contextlib.AsyncExitStack() as stack:
                slot = await stack.enter_async_context(
                    self._admission.slot(self._expert, self._caller, self._asked)
                )
                self._asked.tried.add(slot.number)
                try:
                    reply = await self._ask(stack, slot.expert)
                except ExpertError as error:
                    slot.failed(error)
                    if not self._goes_on(error):
                        raise
                    self.failed.append((slot.number + 1, error.code))
                    log.warning(
                        "replica_failed", expert=self._expert.name, replica=slot.number + 1, code=error.code
                    )
                    continue
                slot.began(first_token=isinstance(reply, ReplyStream))
                return reply, stack.pop_all(), slot

    def _goes_on(self, error: ExpertError) -> bool:
        return (
            goes_elsewhere(error)
            and not self._asked.held
            and len(self.failed) < RETRIES
            and len(self._asked.tried) < len(self._pool)
        )

    def _may_hedge(self) -> bool:
        """Only where a place is free, and nobody waits for it."""
        return (
            len(self._asked.tried) < len(self._pool)
            and not self._admission.load(self._expert).queued
            and self._pool.hedges.take()
        )


async def _first_result(racing: list["asyncio.Task[_Begun]"]) -> _Begun:
    """The first that succeeds, or the last error; what a loser holds is let go."""
    waiting, winner = set(racing), None
    try:
        while winner is None:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            winner = next((each for each in done if each.exception() is None), None)
            if winner is None and not waiting:
                return racing[0].result()  # raises
        return winner.result()
    finally:
        for each in racing:
            if each is not winner:
                await _let_go(each)


async def _let_go(attempt: "asyncio.Task[_Begun]") -> None:
    """End an attempt that nobody waits for, and free its place and connection."""
    attempt.cancel()
    await asyncio.wait({attempt})
    if not attempt.cancelled() and attempt.exception() is None:
        await attempt.result()[1].aclose()
