"""The composition root: builds everything of one running service, and takes it down again."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.composition_reload import Reloader
from app.errors import StartError
from app.services import Services
from app.serving.answer_lifecycle import AnswerLifecycle
from app.serving.answering import Answering
from app.serving.conversations import Conversations
from app.serving.encoder_embeddings import EncoderEmbeddings
from app.serving.escalation_quota import EscalationQuota
from app.serving.expert_access import ExpertAccess
from app.serving.exploration import Exploration
from app.serving.operator_rules import RulesError
from app.serving.prompt_files import PromptFilesError, load_prompt_files
from app.serving.prompting import Prompting
from app.serving.recent_experts import ConversationMemory
from app.serving.resident_experts import ResidencyStartError, resident_experts, sole_process
from app.serving.routing import RoutingService, load_routers
from app.serving.shadow import Shadow
from app.serving.shadow_budget import SharedBudget
from app.serving.stored_responses import StoredResponses
from app.settings import Settings
from app.siblings import Worker
from app.storage.database import Database, database_url
from app.storage.recorder import Recorder
from app.storage.schema import ensure
from app.strategies.limits import RequestLimits
from app.strategies.strategy_registry import Catalogue, StrategyError
from app.strategies.strategy_service import Strategies
from app.telemetry.metrics import Metrics
from base.databases import DatabaseError
from base.suggestions import suggestion
from experts.adaptations import LearnedAdaptations
from experts.client import ExpertClient
from experts.health import HealthMonitor
from experts.model_tokenizer import TokenizerError
from experts.registry import Registry, RegistryError, UnknownExpert, load_registry
from experts.replica_loads import LoadPoller
from experts.residency.resident_admission import ResidentAdmission
from experts.token_counter import CounterLimits, TokenCounter

if TYPE_CHECKING:
    from app.storage.shared_store import SharedStore
    from routers.encoder import Encoder

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_services(
    settings: Settings, *, encoder: "Encoder | None" = None, worker: Worker | None = None
) -> AsyncIterator[Services]:
    """Open the services that `settings` describe; queued rows are written before the database closes.

    `encoder` replaces the one of `settings`; `worker` is this process's place among several. Raises
    StartError.
    """
    worker = worker or Worker()
    metrics = Metrics(None if worker.folder is None else worker.folder / "metrics")
    async with AsyncExitStack() as stack:
        store = None
        if worker.folder is not None:
            from app.storage.shared_store import SharedStore

            store = stack.enter_context(closing(SharedStore(worker.folder)))
        with explained(settings):
            registry = _share_of(load_registry(settings.experts), worker)
            catalogue = Catalogue(settings.own_strategies)
            routers = await asyncio.to_thread(load_routers, settings, registry, catalogue.names, encoder)
            prompt_files = await asyncio.to_thread(load_prompt_files, registry, routers.served.encoder)
            database = Database(settings.database)
            known = routers.served.strategies.available or catalogue.names
            if settings.strategy not in known:
                hint = suggestion(settings.strategy, known)
                raise StrategyError(f"COTERIE_STRATEGY: there is no strategy {settings.strategy!r}; {hint}")
        stack.push_async_callback(database.close)
        await _ensure_tables(database, settings)
        recorder = Recorder(
            database,
            queue=settings.record_queue,
            batch=settings.record_batch,
            on_written=metrics.rows_written.inc,
            on_dropped=metrics.rows_refused.inc,
        )
        recorder.start()
        stack.push_async_callback(recorder.stop, settings.record_flush_s)
        metrics.gauge("coterie_rows_waiting", "Rows that are not written yet.", lambda: recorder.waiting)
        with explained(settings):
            stack.enter_context(sole_process(registry, settings.data, settings.workers))
            residency = await resident_experts(registry, settings.data, metrics)
        admission = None if residency is None else ResidentAdmission(residency)
        client = await stack.enter_async_context(
            ExpertClient(admission=admission, learned=LearnedAdaptations(_log_adaptation))
        )
        if residency is None:
            health = HealthMonitor(registry, client)
        else:
            stack.push_async_callback(residency.stop)
            await residency.start()
            health = HealthMonitor(registry, client, away=residency.away)
        await health.start()
        stack.push_async_callback(health.stop)
        loads = LoadPoller(registry.experts.values(), client)
        await loads.start()
        stack.push_async_callback(loads.stop)
        memory = _memory(store, settings)
        conversations = Conversations(
            database, settings.conversations, memory=memory, idle_s=settings.conversation_idle_s
        )
        if worker.number == 0:
            await conversations.start()
            stack.push_async_callback(conversations.stop)
        limits = CounterLimits(
            cache=settings.token_cache, queue=settings.counting_queue, ask_s=settings.tokenize_s
        )
        with explained(settings):
            tokens = await asyncio.to_thread(
                TokenCounter.of, tuple(registry.experts.values()), client, limits
            )
        stack.callback(tokens.close)
        quota = _quota(settings, metrics, store)
        routing = RoutingService(
            routers,
            registry,
            conversations,
            Exploration(settings.explore, settings.explore_seed),
            tokens,
            threads=settings.routing_threads,
            queue=settings.routing_queue,
            quota=quota,
            baseline=settings.escalation_baseline,
            observe=metrics.routing_seconds.observe,
        )
        stack.callback(routing.close)
        prompting = Prompting(client, routing.embed, prompt_files, registry.experts.values(), tokens)
        access = ExpertAccess(registry, prompting, health, metrics, quota)
        with explained(settings):
            spends = _shadow_budget(store, settings)
            shadow = Shadow(settings, access, database, recorder, routing.other_choice, spends)
        await shadow.start()
        stack.push_async_callback(shadow.stop)
        metrics.gauge("coterie_shadows_waiting", "Shadow answers to be asked for.", lambda: shadow.waiting)
        with explained(settings):
            strategies = Strategies(
                catalogue,
                access,
                routing,
                limits=RequestLimits(
                    calls=settings.strategy_max_calls,
                    tokens=settings.strategy_max_tokens,
                    seconds=settings.strategy_max_s,
                    cost=settings.strategy_max_cost,
                ),
                options=settings.strategy_options,
            )
            await strategies.prepare(settings.strategy)
        if settings.open_to_the_network:
            log.warning("open_to_the_network", host=settings.host, remedy="set COTERIE_API_KEYS")
        if "*" in settings.origins and not settings.keys:
            log.warning("open_to_every_web_page", remedy="set COTERIE_API_KEYS, or name the origins")
        log.info(
            "opened",
            experts=list(registry.names),
            composition=routers.served.composition.digest,
            database=database.shown,
        )
        yield Services(
            settings=settings,
            worker=worker,
            metrics=metrics,
            registry=registry,
            routing=routing,
            reloader=Reloader(routing, settings, registry, metrics, strategies, worker),
            health=health,
            tokens=tokens,
            client=client,
            residency=residency,
            embeddings=EncoderEmbeddings(routing, seconds=settings.embedding_s),
            prompting=prompting,
            answering=Answering(access, tries=settings.spill_tries),
            lifecycle=AnswerLifecycle(metrics, recorder, conversations, registry),
            strategies=strategies,
            database=database,
            recorder=recorder,
            shadow=shadow,
            stored_responses=StoredResponses(
                database, recorder, keeps=settings.store_prompts, siblings=worker.siblings
            ),
        )


async def upgrade_tables(settings: Settings) -> None:
    """Bring the database's tables to this version where a start does that. Raises StartError."""
    with explained(settings):
        database = Database(settings.database)
    try:
        await _ensure_tables(database, settings)
    finally:
        await database.close()


async def _ensure_tables(database: Database, settings: Settings) -> None:
    with explained(settings):
        before, after = await ensure(database)
    if before != after:
        log.info("database_upgraded", database=database.shown, before=before, after=after)


def _share_of(registry: Registry, worker: Worker) -> Registry:
    """The registry with this worker's part of what each server takes at once."""
    if worker.count == 1:
        return registry
    tight = sorted({each.name for each in registry.experts.values() if each.max_in_flight < worker.count})
    if tight and worker.number == 0:
        log.warning("more_workers_than_slots", experts=tight, workers=worker.count)
    shares = {
        name: expert.model_copy(
            update={
                "max_in_flight": worker.share(expert.max_in_flight),
                "max_queued": worker.share(expert.max_queued) if expert.max_queued else 0,
            }
        )
        for name, expert in registry.experts.items()
    }
    return Registry(shares, registry.source, registry.residency)


def _memory(store: "SharedStore | None", settings: Settings) -> ConversationMemory | None:
    if store is None:
        return None
    from app.serving.shared_experts import SharedMemory

    return SharedMemory(store, settings.conversations)


def _quota(settings: Settings, metrics: Metrics, store: "SharedStore | None") -> EscalationQuota | None:
    if (rate := settings.escalation_rate) is None:
        return None
    counts = None
    if store is not None:
        from app.serving.shared_windows import SharedWindows

        counts = SharedWindows(store)
    return EscalationQuota(rate, metrics, refuses=settings.escalations_over == "refuse", counts=counts)


def _shadow_budget(store: "SharedStore | None", settings: Settings) -> SharedBudget | None:
    if store is None:
        return None
    return SharedBudget(store, settings.shadow_tokens_per_day, settings.shadow_price_per_day)


def _log_adaptation(expert: str, name: str) -> None:
    """What a server refuses belongs into the registry: docs/reference/registry.md."""
    log.warning("expert_adapted", expert=expert, adaptation=name)


@contextmanager
def explained(settings: Settings) -> Iterator[None]:
    """Turns every error of configuration into a StartError that says what to do."""
    from routers.composition import CompositionError
    from routers.encoder import EncoderMissing

    try:
        yield
    except (
        *(RegistryError, CompositionError, EncoderMissing, ResidencyStartError),
        *(RulesError, PromptFilesError, StrategyError, DatabaseError, TokenizerError),
    ) as error:
        raise StartError(str(error)) from error
    except UnknownExpert as error:
        raise StartError(f"COTERIE_SHADOW_EXPERTS: {error}") from error
    except SQLAlchemyError as error:
        # The driver's message may hold the password.
        raise StartError(
            f"the database {shown(settings)} does not answer ({type(error).__name__}): "
            "check COTERIE_DATABASE_URL and that it runs"
        ) from error
    except OSError as error:
        raise StartError(f"{error.filename or 'the database'}: {error.strerror or error}") from error


def shown(settings: Settings) -> str:
    """The database's URL without its password."""
    return database_url(settings.database).render_as_string(hide_password=True)
