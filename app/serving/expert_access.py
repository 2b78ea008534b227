"""What code that asks experts needs: the registry, prompts in front, health, metrics."""

from dataclasses import dataclass

import structlog

from app.serving.prompting import Prompting
from app.telemetry.metrics import Metrics
from experts.errors import ContextTooLong, ExpertError
from experts.expert import Expert
from experts.health import HealthMonitor
from experts.registry import Registry

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ExpertAccess:
    """Shared by all requests of a service. Experts are asked through `prompting`."""

    registry: Registry
    prompting: Prompting
    health: HealthMonitor
    metrics: Metrics

    def down(self) -> set[str]:
        """The experts that are known to be down."""
        return {name for name in self.registry.names if not self.health.available(name)}

    def sharing(self, expert: Expert, error: ExpertError) -> set[str]:
        """The experts that would fail as `expert` did: those behind the same endpoint, as prompt experts go
        down with their base; where the conversation was too long, those without more room."""
        if isinstance(error, ContextTooLong):
            room = expert.context_length
            return {
                each.name
                for each in self.registry.experts.values()
                if each.context_length < room
                or (each.endpoint, each.model) == (expert.endpoint, expert.model)
            }
        if expert.endpoint is None:
            return {expert.name}
        return {each.name for each in self.registry.experts.values() if each.endpoint == expert.endpoint}

    def failed(self, name: str, error: ExpertError, **facts: str) -> None:
        """Log an expert's failure and tell the health monitor; `facts` go into the log."""
        log.warning("expert_failed", expert=name, code=error.code, **facts)
        self.health.report_failure(name, error)
