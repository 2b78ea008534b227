"""Reload of the composition and the rules in a running service.

Requests that are being decided keep their router. The expert registry and the encoder are not reloaded.
"""

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from app.serving.operator_rules import RulesError
from app.serving.routing import Routers, RoutingService, load_routers
from app.settings import Settings
from app.siblings import ReloadRefused, Worker
from app.strategies.strategy_service import Strategies
from app.telemetry.metrics import Metrics
from base.json_documents import json_digest
from experts.registry import Registry

log = structlog.get_logger(__name__)


class ReloadError(Exception):
    """The composition or the rules are invalid; the service keeps the old ones."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """Digests before and after (equal when nothing changed), the number of rules, the canary's digest, and
    the number of workers that have reloaded: all that serve."""

    old: str
    new: str
    rules: int
    canary: str | None = None
    workers: int = 1

    def document(self) -> dict[str, Any]:
        return asdict(self)


class Reloader:
    """Reloads `routing` from the folder and the rules that `settings` name, one reload at a time. Of several
    workers every one reloads, or none: the parent asks each to `prepare`, and then all to `commit` or to
    `abandon` it."""

    def __init__(
        self,
        routing: RoutingService,
        settings: Settings,
        registry: Registry,
        metrics: Metrics,
        strategies: Strategies,
        worker: Worker,
    ) -> None:
        self._routing = routing
        self._settings = settings
        self._registry = registry
        self._metrics = metrics
        self._strategies = strategies
        self._worker = worker
        self._turn = asyncio.Lock()
        self._prepared: Routers | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What tells two `Routers` apart, as a document: equal for workers that route alike."""
        return _identity(self._routing.routers)

    async def reload(self) -> Reloaded:
        """Load, verify and swap, in all workers. Raises ReloadError, after which nothing has changed."""
        if self._worker.count > 1:
            try:
                return Reloaded(**await self._worker.siblings.reload())
            except ReloadRefused as error:
                raise ReloadError(str(error)) from error
        async with self._turn:
            try:
                await self.prepare()
            except ReloadError as error:
                self.abandon(str(error))
                raise
            return self.commit(noted=True)

    async def prepare(self) -> dict[str, Any]:
        """Load and verify what is in the folder, for `commit`; returns its identity. Raises ReloadError."""
        from routers.composition import CompositionError

        self._prepared = None
        try:
            # The digests are verified, arrays read and names checked before anything is swapped.
            self._prepared = await asyncio.to_thread(
                load_routers,
                self._settings,
                self._registry,
                self._strategies.catalogue.names,
                self._routing.routers.served.encoder,
            )
        except (CompositionError, RulesError) as error:
            raise ReloadError(str(error)) from error
        return _identity(self._prepared)

    def commit(self, *, noted: bool) -> Reloaded:
        """Route by what was prepared. `noted`: this worker counts and logs it, for all."""
        old, new = self._routing.routers, self._prepared
        if new is None:
            raise RuntimeError("nothing was prepared")
        self._routing.routers, self._prepared = new, None
        served, canary = new.served.composition, new.canary
        done = Reloaded(
            old.served.composition.digest,
            served.digest,
            len(served.policy.rules),
            None if canary is None else canary.composition.digest,
        )
        if noted:
            self._metrics.reloads.labels("done").inc()
            log.info("reloaded", old=done.old, composition=done.new, canary=done.canary, rules=done.rules)
        return done

    def abandon(self, why: str | None) -> None:
        """Go on with what is served. `why`: for this worker to count and log, for all; None when another one
        does."""
        self._prepared = None
        if why is not None:
            self._metrics.reloads.labels("refused").inc()
            digest = self._routing.routers.served.composition.digest
            log.warning("reload_refused", composition=digest, error=why)


def _identity(routers: Routers) -> dict[str, Any]:
    rules = [
        {
            **{name: getattr(rule, name) for name in ("name", "keywords", "languages", "expert", "category")},
            "strategy": rule.strategy,
            "pattern": None if rule.pattern is None else [rule.pattern.pattern, rule.pattern.flags],
            "attributes": dict(rule.attributes or {}),
        }
        for rule in routers.served.composition.policy.rules
    ]
    started = None if routers.started_at is None else routers.started_at.isoformat()
    return {
        "composition": routers.served.composition.digest,
        "canary": None if routers.canary is None else routers.canary.composition.digest,
        "share": [routers.share, started],
        # Conditions may hold customers' words: their digest tells as much.
        "rules": json_digest(rules),
    }
