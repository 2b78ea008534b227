"""How often and how patiently to try again: the one policy of everything that asks over a network.

Knows nothing of HTTP clients and does not sleep: callers ask it how long to wait.
"""

import math
import random
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses of trouble that may pass."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with jitter. `attempts` counts the first one; waits in seconds."""

    attempts: int = 6
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0

    def delay(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds to wait after failed attempt `attempt` (from 0); `retry_after` is the server's wish,
        honoured up to twice the longest wait."""
        doubled = self.first_wait_s * 2.0 ** min(attempt, 64)  # more would overflow
        backoff = min(self.longest_wait_s, doubled) * random.uniform(0.75, 1.25)
        return min(2 * self.longest_wait_s, max(backoff, retry_after or 0.0))


NO_RETRIES = RetryPolicy(attempts=1)


def read_retry_after(value: str | None) -> float | None:
    """The seconds of a `Retry-After` header, given as seconds or as a date (RFC 9110, 10.2.3); None when
    there is none, or none that can be read."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
