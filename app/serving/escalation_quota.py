"""A quota of escalations for each key: who has how many left, and what becomes of a request without any.

What an escalation is says `routers.escalation`. Counts are kept in a moving window, in the memory of this
process or of all workers.
"""

import math
import time
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import structlog

from app.errors import ServiceError
from app.telemetry.metrics import Metrics
from routers.decide import NoExpertFits
from routers.decision import Decision
from routers.escalation import escalates, limit, rule_out

if TYPE_CHECKING:
    from limits import RateLimitItem

    from app.serving.shared_windows import SharedWindows

log = structlog.get_logger(__name__)

Result = Literal["counted", "limited", "refused"]


class EscalationQuota:
    """The methods do not await, so no two requests take the same one."""

    def __init__(
        self,
        rate: "RateLimitItem",
        metrics: Metrics,
        *,
        refuses: bool = False,
        counts: "SharedWindows | None" = None,
    ) -> None:
        """`rate` is what one key has. `refuses`: what is above it gets an error, and no cheaper expert.
        `counts`: where workers count together; None: in the memory of this process."""
        from limits.storage import MemoryStorage
        from limits.strategies import MovingWindowRateLimiter

        self._item = rate
        self._limiter = MovingWindowRateLimiter(counts or MemoryStorage())
        self._metrics = metrics
        self._refuses = refuses

    def left(self, key: str | None, requests: int = 1) -> bool:
        """Whether `key`, the label of a caller's key, has so many escalations left."""
        return self._limiter.test(self._item, *_identifiers(key), cost=requests)

    def admit(
        self, key: str | None, decision: Decision, dear: Collection[str], requests: int = 1
    ) -> Decision:
        """`decision` for as many `requests`, counted when it is an escalation; another one, of an expert that
        is not `dear`, when the quota is used up. Raises ServiceError (429) where there is none."""
        if not escalates(decision, dear):
            decision = replace(decision, escalated=False)
            return decision if self.left(key) else rule_out(decision, dear)
        if self._take(key, decision.expert, requests):
            return replace(decision, escalated=True)
        why = f"{_named(key)} has used up its quota of escalations ({_said(self._item)})"
        if requests > 1:
            why = (
                f"{_named(key)} has fewer than {requests} escalations left of its quota ({_said(self._item)})"
            )
        if self._refuses:
            raise self._refused(key, decision, why, requests)
        try:
            limited = limit(decision, dear, why)
        except NoExpertFits as error:
            raise self._refused(key, decision, str(error), requests) from error
        self._note("limited", decision.expert)
        log.info("escalation_limited", limited_from=limited.limited_from, expert=limited.expert)
        return replace(limited, escalated=False)

    def admit_fallback(self, key: str | None, decision: Decision, dear: Collection[str]) -> Decision | None:
        """`decision`, after its first expert could not answer; counted when it is an escalation now, and None
        when the quota has none left for it."""
        if decision.escalated or decision.expert not in dear:
            return decision
        return replace(decision, escalated=True) if self._take(key, decision.expert) else None

    def _take(self, key: str | None, expert: str, requests: int = 1) -> bool:
        taken = self._limiter.hit(self._item, *_identifiers(key), cost=requests)
        if taken:
            self._note("counted", expert, requests)
        return taken

    def _refused(self, key: str | None, decision: Decision, why: str, requests: int) -> ServiceError:
        self._note("refused", decision.expert)
        if requests > self._item.amount:
            sentence = f"{why[0].upper()}{why[1:]}, which never has that many: send fewer prompts at once."
            return ServiceError(429, "escalation_quota_exceeded", sentence)
        wait_s = self._limiter.get_window_stats(self._item, *_identifiers(key)).reset_time - time.time()
        wait = max(1, math.ceil(wait_s))
        sentence = f"{why[0].upper()}{why[1:]}. The next one is free in {wait:,} s."
        return ServiceError(429, "escalation_quota_exceeded", sentence, headers={"retry-after": str(wait)})

    def _note(self, result: Result, expert: str, requests: int = 1) -> None:
        self._metrics.escalations.labels(expert, result).inc(requests)


def _identifiers(key: str | None) -> tuple[str, ...]:
    """None is not a label that a key could have."""
    return ("all",) if key is None else ("key", key)


def _named(key: str | None) -> str:
    return "the service, which has no keys," if key is None else f"the key {key}"


def _said(item: "RateLimitItem") -> str:
    """`20 per hour`, where the library says `20 per 1 hour`."""
    return str(item).replace(" per 1 ", " per ")
