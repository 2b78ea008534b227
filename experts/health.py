"""Health of experts: periodic checks of each endpoint (`/v1/models`) plus failures reported by requests, with
a circuit breaker per expert. LiteLLM experts are not polled, which may cost money.

Health does not affect decisions, only fallback to another expert.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from experts.admission import endpoint_key
from experts.client import ExpertClient
from experts.errors import (
    ExpertBadReply,
    ExpertBusy,
    ExpertError,
    ExpertRejected,
    ExpertTimeout,
    ExpertUnavailable,
    NotStreamed,
)
from experts.expert import Expert
from experts.registry import Registry

NO_MODELS = frozenset({404, 405, 501})
"""Statuses of servers without a list of models. One at another address answers so too; requests find out."""

HealthState = Literal["up", "down", "unknown", "starting"]


@dataclass(frozen=True, slots=True)
class ExpertHealth:
    """`checked_at`: Unix time of the last evidence, in seconds, None without; `detail` for users."""

    state: HealthState
    checked_at: float | None
    detail: str


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
class _Endpoint:
    """Check results of an endpoint; `expert` is any of its experts."""

    expert: Expert
    served: tuple[str, ...] = ()
    error: ExpertError | None = None
    checked_at: float | None = None
    was_up: bool = False


@dataclass(slots=True)
class _Reports:
    """Failures reported by requests since the last success; `down_until` and `backoff_until` on the
    monotonic clock."""

    failures: int = 0
    last: ExpertError | None = None
    at: float = 0.0
    down_until: float = 0.0
    backoff_until: float = 0.0
    succeeded_at: float | None = None


_UNKNOWN = ExpertHealth("unknown", None, "Not checked yet.")


class HealthMonitor:
    """Without `start` it only uses the reports of requests."""

    def __init__(
        self, registry: Registry, client: ExpertClient, settings: HealthSettings | None = None
    ) -> None:
        self.settings = settings or HealthSettings()
        self._registry = registry
        self._client = client
        self._reports = {name: _Reports() for name in registry.names}
        self._endpoints: dict[str, _Endpoint] = {}
        for expert in registry.experts.values():
            if expert.provider == "openai":
                self._endpoints.setdefault(endpoint_key(expert), _Endpoint(expert))
        self._wake = {key: asyncio.Event() for key in self._endpoints}
        self._tasks: list[asyncio.Task[None]] = []
        self._begun = time.monotonic()

    async def start(self) -> None:
        """Start the background checks."""
        self._begun = time.monotonic()
        self._tasks = [
            asyncio.create_task(self._watch(key, endpoint), name=f"health of {endpoint.expert.name}")
            for key, endpoint in self._endpoints.items()
        ]

    async def stop(self) -> None:
        """Stop the background checks. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def check(self) -> None:
        """Check all endpoints once, concurrently."""
        await asyncio.gather(*(self._check(endpoint) for endpoint in self._endpoints.values()))

    def status(self, name: str) -> ExpertHealth:
        """The state of one expert. Raises `UnknownExpert`."""
        expert = self._registry.get(name)
        reports = self._reports[name]
        if time.monotonic() < reports.down_until and reports.last is not None:
            return ExpertHealth("down", reports.at, reports.last.message)
        endpoint = self._endpoints.get(endpoint_key(expert))
        if endpoint is not None and endpoint.checked_at is not None:
            return self._checked(expert, endpoint, endpoint.checked_at)
        if reports.succeeded_at is not None:
            return ExpertHealth("up", reports.succeeded_at, "Answered a request.")
        return _UNKNOWN

    def statuses(self) -> Mapping[str, ExpertHealth]:
        """The health of every expert."""
        return MappingProxyType({name: self.status(name) for name in self._registry.names})

    def available(self, name: str) -> bool:
        """Whether the expert is up or unknown, and its server did not ask to wait."""
        return self.status(name).state in {"up", "unknown"} and not self.backoff_s(name)

    def backoff_s(self, name: str) -> float:
        """Seconds left of the wait that the expert's server asked for; 0 without one."""
        return max(0.0, self._reports[self._registry.get(name).name].backoff_until - time.monotonic())

    def report_failure(self, name: str, error: ExpertError) -> None:
        """Record a failed request. Rejections and full queues do not count as failures; a wait that the
        server asks for holds for all experts of the same model there."""
        if error.retry_after_s is not None and error.status in {429, 503}:
            until = time.monotonic() + min(error.retry_after_s, self.settings.longest_backoff_s)
            for each in self._sharing_model(name):
                self._reports[each].backoff_until = until
        if isinstance(error, NotStreamed) or not isinstance(
            error, ExpertUnavailable | ExpertTimeout | ExpertBadReply
        ):
            return
        reports = self._reports[self._registry.get(name).name]
        reports.failures += 1
        reports.last = error
        reports.at = time.time()
        # What a 400 or 422 says of the server may be words of the request: one alone takes nobody's expert.
        unreachable = isinstance(error, ExpertUnavailable) and error.http_status not in {400, 422}
        if unreachable or reports.failures >= self.settings.failures_to_trip:
            reports.down_until = time.monotonic() + self.settings.cooldown_s
        if unreachable and (wake := self._wake.get(endpoint_key(self._registry.get(name)))) is not None:
            wake.set()

    def report_success(self, name: str) -> None:
        """Record an answered request."""
        reports = self._reports[self._registry.get(name).name]
        reports.failures = 0
        reports.last = None
        reports.down_until = 0.0
        for each in self._sharing_model(name):
            self._reports[each].backoff_until = 0.0
        reports.succeeded_at = time.time()

    def _sharing_model(self, name: str) -> list[str]:
        expert = self._registry.get(name)
        return [
            each.name
            for each in self._registry.experts.values()
            if (endpoint_key(each), each.model) == (endpoint_key(expert), expert.model)
        ]

    def _checked(self, expert: Expert, endpoint: _Endpoint, checked_at: float) -> ExpertHealth:
        if endpoint.error is None:
            if endpoint.served and expert.model not in endpoint.served:
                return ExpertHealth("down", checked_at, f"Its server does not serve {expert.model}.")
            return ExpertHealth("up", checked_at, "Answers.")
        waiting = expert.local is not None and not endpoint.was_up
        if waiting and time.monotonic() - self._begun < self.settings.startup_s:
            return ExpertHealth("starting", checked_at, "Its server is starting.")
        return ExpertHealth("down", checked_at, endpoint.error.message)

    async def _watch(self, key: str, endpoint: _Endpoint) -> None:
        wake = self._wake[key]
        while True:
            wake.clear()
            await self._check(endpoint)
            wait_s = self.settings.interval_s if endpoint.error is None else self.settings.recovery_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await wake.wait()
                    # Debounce simultaneous failures.
                    await asyncio.sleep(min(0.1, wait_s / 2))

    async def _check(self, endpoint: _Endpoint) -> None:
        begun = time.monotonic()
        was_down = endpoint.error is not None
        try:
            endpoint.served = await self._client.models(endpoint.expert)
        except ExpertError as error:
            # Some servers do not list models, or not so often; they are there all the same.
            lives = isinstance(error, ExpertBadReply | ExpertBusy | ExpertRejected)
            lives = lives or error.http_status in NO_MODELS
            endpoint.served, endpoint.error = (), None if lives else error
        else:
            endpoint.error = None
        endpoint.checked_at = time.time()
        if endpoint.error is None:
            endpoint.was_up = True
            self._close_circuits(endpoint, begun, was_down)

    def _close_circuits(self, endpoint: _Endpoint, begun: float, was_down: bool) -> None:
        """End the cooldown of unreachable experts after a good check that began after their failure.

        Repeated failures keep the cooldown unless a check saw the outage too; bad and late answers always do.
        """
        key = endpoint_key(endpoint.expert)
        for name, reports in self._reports.items():
            if endpoint_key(self._registry.get(name)) != key or not isinstance(
                reports.last, ExpertUnavailable
            ):
                continue
            failed_since = reports.down_until - self.settings.cooldown_s >= begun
            if failed_since or not (was_down or reports.failures < self.settings.failures_to_trip):
                continue
            reports.down_until = 0.0
            if was_down:
                reports.failures, reports.last = 0, None
