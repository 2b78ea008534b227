"""A circuit breaker: what requests and checks say of a server, and whether it is asked. Knows one server and
one model at a time."""

import time
from dataclasses import dataclass

from experts.errors import (
    ExpertBadReply,
    ExpertError,
    ExpertTimeout,
    ExpertUnavailable,
    NotStreamed,
    QueueFull,
)


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """`interval_s`, `recovery_s`: between checks of an endpoint that is up, or down; `startup_s`: a local
    server that never answered is `starting` this long; `failures_to_trip`: consecutive bad or late answers
    that open the circuit for `cooldown_s`; `longest_backoff_s`: a server that asks to wait (`Retry-After`) is
    left alone for no longer."""

    interval_s: float = 5.0
    recovery_s: float = 1.0
    startup_s: float = 900.0
    failures_to_trip: int = 3
    cooldown_s: float = 30.0
    longest_backoff_s: float = 300.0


@dataclass(slots=True)
class Circuit:
    """Failures since the last success; `down_until` and `backoff_until` on the monotonic clock, `at` and
    `succeeded_at` in Unix time."""

    settings: HealthSettings
    failures: int = 0
    last: ExpertError | None = None
    at: float = 0.0
    down_until: float = 0.0
    backoff_until: float = 0.0
    succeeded_at: float | None = None

    @property
    def open_until(self) -> float:
        """Until when nobody is sent there."""
        return max(self.down_until, self.backoff_until)

    def failed(self, error: ExpertError) -> bool:
        """Record a failed request; True when it could not reach the server. Rejections and full queues do not
        count."""
        if not is_failure(error):
            return False
        self.failures += 1
        self.last = error
        self.at = time.time()
        # What a 400 or 422 says of the server may be words of the request: one alone takes nobody's expert.
        unreachable = isinstance(error, ExpertUnavailable) and error.http_status not in {400, 422}
        if unreachable or self.failures >= self.settings.failures_to_trip:
            self.down_until = time.monotonic() + self.settings.cooldown_s
        return unreachable

    def reached(self) -> None:
        """An answer has begun: the server is there, though what it says may still break off."""
        self.backoff_until = 0.0
        if isinstance(self.last, ExpertUnavailable):
            self.succeeded()

    def succeeded(self) -> None:
        """Record an answered request: all is forgiven."""
        self.failures = 0
        self.last = None
        self.down_until = self.backoff_until = 0.0
        self.succeeded_at = time.time()

    def wish_of(self, error: ExpertError) -> float:
        """The end of the wait that the server asks for in `error`, on the monotonic clock; 0 without one."""
        if error.retry_after_s is None or error.status not in {429, 503} or isinstance(error, QueueFull):
            return 0.0
        return time.monotonic() + min(error.retry_after_s, self.settings.longest_backoff_s)

    def checked(self, begun: float, was_down: bool) -> None:
        """End the cooldown of an unreachable server after a good check that began after its failure.

        Repeated failures keep the cooldown unless a check saw the outage too (`was_down`); bad and late
        answers always do.
        """
        if not isinstance(self.last, ExpertUnavailable):
            return
        failed_since = self.down_until - self.settings.cooldown_s >= begun
        if failed_since or not (was_down or self.failures < self.settings.failures_to_trip):
            return
        self.down_until = 0.0
        if was_down:
            self.failures, self.last = 0, None


def is_failure(error: ExpertError) -> bool:
    """Whether it speaks against the server: no rejection, no full queue."""
    return not isinstance(error, NotStreamed) and isinstance(
        error, ExpertUnavailable | ExpertTimeout | ExpertBadReply
    )
