"""What code that asks experts needs: the registry, prompts in front, health, metrics."""

from dataclasses import dataclass

import structlog

from app.serving.escalation_quota import EscalationQuota
from app.serving.prompting import Prompting
from app.telemetry.metrics import Metrics
from experts.errors import ContextTooLong, ExpertBadReply, ExpertError
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
    quota: EscalationQuota | None = None
    """Of escalations, for fallbacks to dearer experts."""

    def down(self) -> set[str]:
        """The experts that are known to be down."""
        return {name for name in self.registry.names if not self.health.available(name)}

    def sharing(self, expert: Expert, error: ExpertError) -> set[str]:
        """The experts that would fail as `expert` did: all behind the same endpoint where it did not answer;
        where it did, those of the same model there, as prompt experts go down with their base; where the
        conversation was too long, those without more room too."""
        answered = error.http_status is not None or isinstance(error, ExpertBadReply)
        alike = {
            each.name
            for each in self.registry.experts.values()
            if each.endpoint == expert.endpoint
            and (each.model == expert.model or not (answered or expert.endpoint is None))
        }
        if isinstance(error, ContextTooLong):
            alike |= {
                each.name
                for each in self.registry.experts.values()
                if each.context_length < expert.context_length
            }
        return alike

    def failed(self, name: str, error: ExpertError, **facts: str) -> None:
        """Log an expert's failure and tell the health monitor; `facts` go into the log."""
        log.warning("expert_failed", expert=name, code=error.code, **facts)
        self.health.report_failure(name, error)
