"""Health of experts: periodic checks of each endpoint (`/v1/models`) plus failures reported by requests, with
a circuit breaker per expert. LiteLLM experts are not polled, which may cost money.

Replicas have circuits of their own, in `experts.replicas.pool`, to which the client reports; an expert is up
while one of its replicas is.

Health does not affect decisions, only fallback to another expert.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from experts.admission import endpoint_key
from experts.circuit import Circuit, HealthSettings
from experts.client import ExpertClient
from experts.errors import ExpertBadReply, ExpertBusy, ExpertError, ExpertRejected
from experts.expert import Expert
from experts.registry import Registry

if TYPE_CHECKING:
    from experts.replicas.pool import ReplicaState

__all__ = ["ExpertHealth", "HealthMonitor", "HealthSettings", "HealthState"]

NO_MODELS = frozenset({404, 405, 501})
"""Statuses of servers without a list of models. One at another address answers so too; requests find out."""

HealthState = Literal["up", "down", "unknown", "starting", "asleep", "waking"]
"""`asleep` and `waking`: not loaded, or about to be; a request for such an expert waits until it is."""
ABLE = frozenset({"up", "unknown", "asleep", "waking"})
"""States of experts that may be asked."""


@dataclass(frozen=True, slots=True)
class ExpertHealth:
    """`checked_at`: Unix time of the last evidence, in seconds, None without; `detail` for users."""

    state: HealthState
    checked_at: float | None
    detail: str


@dataclass(slots=True)
class _Endpoint:
    """Check results of an endpoint; `expert` is any of its experts."""

    expert: Expert
    url: str
    served: tuple[str, ...] = ()
    error: ExpertError | None = None
    checked_at: float | None = None
    was_up: bool = False


_UNKNOWN = ExpertHealth("unknown", None, "Not checked yet.")


class HealthMonitor:
    """Without `start` it only uses the reports of requests."""

    def __init__(
        self,
        registry: Registry,
        client: ExpertClient,
        settings: HealthSettings | None = None,
        away: Callable[[str], Literal["asleep", "waking"] | None] = lambda _: None,
    ) -> None:
        """`away`: whether an expert's server is not loaded, on purpose; it is not checked then."""
        self.settings = settings or HealthSettings()
        self._away = away
        self._registry = registry
        self._client = client
        self._circuits = {name: Circuit(self.settings) for name in registry.names}
        self._alike = {name: _sharing_model(registry, name) for name in registry.names}
        """By expert those of its model at its endpoint, itself included."""
        self._endpoints: dict[str, _Endpoint] = {}
        for expert in registry.experts.values():
            if expert.provider == "openai":
                for endpoint in expert.endpoints:
                    self._endpoints.setdefault(endpoint, _Endpoint(expert.at(endpoint), endpoint))
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
        if expert.replicas:
            return self._replicated(expert)
        reports = self._circuits[name]
        if time.monotonic() < reports.down_until and reports.last is not None:
            return ExpertHealth("down", reports.at, reports.last.message)
        if (away := self._away(name)) is not None:
            detail = "Is being loaded." if away == "waking" else "Not loaded: a request for it loads it."
            return ExpertHealth(away, None, detail)
        endpoint = self._endpoints.get(endpoint_key(expert))
        if endpoint is not None and endpoint.checked_at is not None:
            return self._checked(expert, endpoint, endpoint.checked_at)
        if reports.succeeded_at is not None:
            return ExpertHealth("up", reports.succeeded_at, "Answered a request.")
        return _UNKNOWN

    def statuses(self) -> Mapping[str, ExpertHealth]:
        """The health of every expert."""
        return MappingProxyType({name: self.status(name) for name in self._registry.names})

    def replicas(self, name: str) -> "list[ReplicaState]":
        """The state of each replica of an expert; none where it has one server."""
        expert = self._registry.get(name)
        pool = self._client.admission.pool(expert)
        return [] if pool is None else pool.states(expert.model)

    def available(self, name: str) -> bool:
        """Whether the expert may be asked: it is in one of the states ABLE, and its server did not ask to
        wait."""
        expert = self._registry.get(name)
        if (pool := self._client.admission.pool(expert)) is not None:
            return bool(pool.usable(expert.model).any())
        return self.status(name).state in ABLE and not self.backoff_s(name)

    def backoff_s(self, name: str) -> float:
        """Seconds left of the wait that the expert's server asked for; 0 without one."""
        return max(0.0, self._circuits[self._registry.get(name).name].backoff_until - time.monotonic())

    def report_failure(self, name: str, error: ExpertError) -> None:
        """Record a failed request. Rejections and full queues do not count as failures; a wait that the
        server asks for holds for all experts of the same model there."""
        expert = self._registry.get(name)
        if expert.replicas:
            return  # the client has told the replica's circuit
        if (until := self._circuits[name].wish_of(error)) > 0:
            for each in self._alike[name]:
                self._circuits[each].backoff_until = until
        unreachable = self._circuits[name].failed(error)
        if unreachable and (wake := self._wake.get(endpoint_key(expert))) is not None:
            wake.set()

    def report_begun(self, name: str) -> None:
        """Record an answer that has begun, and may still break off."""
        self._circuits[self._registry.get(name).name].reached()
        for each in self._alike[name]:
            self._circuits[each].backoff_until = 0.0

    def report_success(self, name: str) -> None:
        """Record an answered request."""
        self._circuits[self._registry.get(name).name].succeeded()
        for each in self._alike[name]:
            self._circuits[each].backoff_until = 0.0

    def _replicated(self, expert: Expert) -> ExpertHealth:
        """Up while a replica is."""
        states = self.replicas(expert.name)
        checks = [self._endpoints[each] for each in expert.endpoints]
        checked_at = max((each.checked_at for each in checks if each.checked_at is not None), default=None)
        up = sum(each.usable for each in states)
        if up:
            if checked_at is None:
                return _UNKNOWN
            said = "Answers." if up == len(states) else f"{up} of {len(states)} replicas answer."
            return ExpertHealth("up", checked_at, said)
        return ExpertHealth("down", checked_at, f"No replica answers. {states[0].detail}")

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
        if self._away(endpoint.expert.name) is not None:
            endpoint.served, endpoint.error, endpoint.checked_at = (), None, None
            return
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
        """Tell the circuits behind the endpoint of a check that began at `begun`."""
        for expert in self._registry.experts.values():
            if endpoint.url not in expert.endpoints:
                continue
            if (pool := self._client.admission.pool(expert)) is not None:
                pool.checked(pool.number(endpoint.url), endpoint.error, endpoint.served, begun)
                self._client.admission.recheck(expert)
                return
            if endpoint.error is None:
                self._circuits[expert.name].checked(begun, was_down)


def _sharing_model(registry: Registry, name: str) -> tuple[str, ...]:
    expert = registry.get(name)
    server = endpoint_key(expert), expert.model
    return tuple(
        each.name for each in registry.experts.values() if (endpoint_key(each), each.model) == server
    )
