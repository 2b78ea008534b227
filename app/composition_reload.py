"""Reload of the composition and the rules in a running service.

Requests that are being decided keep their router. The expert registry and the encoder are not reloaded.
"""

import asyncio
from dataclasses import dataclass

import structlog

from app.serving.operator_rules import RulesError
from app.serving.routing import RoutingService, load_routers
from app.settings import Settings
from app.strategies.strategy_service import Strategies
from app.telemetry.metrics import Metrics
from experts.registry import Registry

log = structlog.get_logger(__name__)


class ReloadError(Exception):
    """The composition or the rules are invalid; the service keeps the old ones."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """Digests before and after (equal when nothing changed), the number of rules, and the canary's digest."""

    old: str
    new: str
    rules: int
    canary: str | None = None


class Reloader:
    """Reloads `routing` from the folder and the rules that `settings` name, one reload at a time."""

    def __init__(
        self,
        routing: RoutingService,
        settings: Settings,
        registry: Registry,
        metrics: Metrics,
        strategies: Strategies,
    ) -> None:
        self._routing = routing
        self._settings = settings
        self._registry = registry
        self._metrics = metrics
        self._strategies = strategies
        self._turn = asyncio.Lock()

    async def reload(self) -> Reloaded:
        """Load, verify and swap. Raises ReloadError, after which nothing has changed."""
        from routers.composition import CompositionError

        async with self._turn:
            old = self._routing.routers.served
            try:
                # The digests are verified, arrays read and names checked before anything is swapped.
                new = await asyncio.to_thread(
                    load_routers,
                    self._settings,
                    self._registry,
                    self._strategies.catalogue.names,
                    old.encoder,
                )
            except (CompositionError, RulesError) as error:
                self._metrics.reloads.labels("refused").inc()
                log.warning("reload_refused", composition=old.composition.digest, error=str(error))
                raise ReloadError(str(error)) from error
            self._routing.routers = new
        served, canary = new.served.composition, new.canary
        done = Reloaded(
            old.composition.digest,
            served.digest,
            len(served.policy.rules),
            None if canary is None else canary.composition.digest,
        )
        self._metrics.reloads.labels("done").inc()
        log.info("reloaded", old=done.old, composition=done.new, canary=done.canary, rules=done.rules)
        return done
