"""Which experts are up: asked in the background, corrected by what requests run into.

Each endpoint is asked for its models every few seconds, once however many experts share it. A failure
reported by a request counts at once, so that the next request does not run into it too. Experts behind
LiteLLM are not asked, since that may cost money: their state is what requests report.

Health never changes a decision; it only lets the service spill one to another expert, visibly.
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
from experts.errors import ExpertBadReply, ExpertError, ExpertTimeout, ExpertUnavailable
from experts.expert import Expert
from experts.registry import Registry

State = Literal["up", "down", "unknown", "starting"]


@dataclass(frozen=True, slots=True)
class ExpertHealth:
    """`checked_at` is Unix time in seconds of the last evidence, None while there is none; `detail` is fit
    to be shown."""

    state: State
    checked_at: float | None
    detail: str


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """Seconds, unless said otherwise."""

    interval_s: float = 5.0
    """Between two checks of an endpoint that is up."""
    recovery_s: float = 1.0
    """Between two checks of one that is not."""
    startup_s: float = 900.0
    """A local server that has never answered counts as `starting` for so long, then as `down`."""
    failures_to_trip: int = 3
    """So many bad or late answers in a row take an expert out although its server answers checks."""
    cooldown_s: float = 30.0
    """For so long; then it is tried again."""


@dataclass(slots=True)
class _Endpoint:
    """What the checks of one endpoint have found."""

    expert: Expert
    """One of the experts behind it, to ask with."""
    served: tuple[str, ...] = ()
    error: ExpertError | None = None
    checked_at: float | None = None
    was_up: bool = False


@dataclass(slots=True)
class _Reports:
    """What requests to one expert have reported since its last success."""

    failures: int = 0
    last: ExpertError | None = None
    at: float = 0.0
    down_until: float = 0.0
    """On the monotonic clock."""
    succeeded_at: float | None = None


_UNKNOWN = ExpertHealth("unknown", None, "Not checked yet.")


class HealthMonitor:
    """`start` it in the service's event loop, `stop` it at the end. Without a start it only knows reports."""

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
        """Begin to watch; returns at once."""
        self._begun = time.monotonic()
        self._tasks = [
            asyncio.create_task(self._watch(key, endpoint), name=f"health of {endpoint.expert.name}")
            for key, endpoint in self._endpoints.items()
        ]

    async def stop(self) -> None:
        """End the watching. Safe to repeat."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def check(self) -> None:
        """Check every endpoint once, now, side by side."""
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
        """The state of every expert, in the registry's order."""
        return MappingProxyType({name: self.status(name) for name in self._registry.names})

    def available(self, name: str) -> bool:
        """Whether it is worth asking this expert: it is up, or nothing is known against it."""
        return self.status(name).state in {"up", "unknown"}

    def report_failure(self, name: str, error: ExpertError) -> None:
        """A request to this expert failed. Refusals and full queues say nothing against its health."""
        if not isinstance(error, ExpertUnavailable | ExpertTimeout | ExpertBadReply):
            return
        reports = self._reports[self._registry.get(name).name]
        reports.failures += 1
        reports.last = error
        reports.at = time.time()
        unreachable = isinstance(error, ExpertUnavailable)
        if unreachable or reports.failures >= self.settings.failures_to_trip:
            reports.down_until = time.monotonic() + self.settings.cooldown_s
        if unreachable and (wake := self._wake.get(endpoint_key(self._registry.get(name)))) is not None:
            wake.set()

    def report_success(self, name: str) -> None:
        """A request to this expert was answered."""
        reports = self._reports[self._registry.get(name).name]
        reports.failures = 0
        reports.last = None
        reports.down_until = 0.0
        reports.succeeded_at = time.time()

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
                    # Many requests may fail at once; one check after them is enough.
                    await asyncio.sleep(min(0.1, wait_s / 2))

    async def _check(self, endpoint: _Endpoint) -> None:
        begun = time.monotonic()
        was_down = endpoint.error is not None
        try:
            endpoint.served = await self._client.models(endpoint.expert)
        except ExpertBadReply:
            # It answers, it just has no list: some servers have none.
            endpoint.served, endpoint.error = (), None
        except ExpertError as error:
            endpoint.error = error
        else:
            endpoint.error = None
        endpoint.checked_at = time.time()
        if endpoint.error is None:
            endpoint.was_up = True
            self._forgive(endpoint, begun, was_down)

    def _forgive(self, endpoint: _Endpoint, begun: float, was_down: bool) -> None:
        """The endpoint answers a check that began after a request could not reach it: try it again.

        Not so when requests fail again and again while checks go well: its cooldown stands, unless a check
        has seen the outage too, and now its end. Bad and late answers always wait for the cooldown.
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
