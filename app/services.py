"""Everything that one running service holds."""

from dataclasses import dataclass

from app.composition_reload import Reloader
from app.serving.answer_lifecycle import AnswerLifecycle
from app.serving.answering import Answering
from app.serving.encoder_embeddings import EncoderEmbeddings
from app.serving.prompting import Prompting
from app.serving.routing import RoutingService
from app.serving.shadow import Shadow
from app.serving.stored_responses import StoredResponses
from app.settings import Settings
from app.siblings import Worker
from app.storage.database import Database
from app.storage.recorder import Recorder
from app.strategies.strategy_service import Strategies
from app.telemetry.metrics import Metrics
from experts.client import ExpertClient
from experts.health import HealthMonitor
from experts.registry import Registry
from experts.residency.live_residency import LiveResidency
from experts.token_counter import TokenCounter


@dataclass(frozen=True, slots=True)
class Services:
    """What the API's routes work with."""

    settings: Settings
    worker: Worker
    metrics: Metrics
    registry: Registry
    routing: RoutingService
    reloader: Reloader
    health: HealthMonitor
    tokens: TokenCounter
    client: ExpertClient
    residency: LiveResidency | None
    embeddings: EncoderEmbeddings
    prompting: Prompting
    answering: Answering
    lifecycle: AnswerLifecycle
    strategies: Strategies
    database: Database
    recorder: Recorder
    shadow: Shadow
    stored_responses: StoredResponses
