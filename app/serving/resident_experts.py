"""Residency in the service: which servers take turns, and how each is loaded. One process may do so."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import structlog
from pydantic import SecretStr

from app.telemetry.metrics import Metrics
from experts.errors import ExpertError
from experts.local.errors import LocalError
from experts.local.model_folders import default_python
from experts.local.supervisor import SupervisorLimits
from experts.local.vllm import prepare_servers, serves_on_cpu
from experts.registry import Expert, Registry
from experts.residency.live_residency import LiveResidency, ResidencyObserver, managed_servers
from experts.residency.server_switches import OwnServer, RunningServer, ServerSwitch
from experts.residency.sleep_endpoints import SleepEndpoints
from experts.residency_settings import ResidencySettings

log = structlog.get_logger(__name__)


class ResidencyStartError(Exception):
    """Experts cannot take turns here; the message says what to do."""


async def resident_experts(registry: Registry, data: Path, metrics: Metrics) -> LiveResidency | None:
    """The registry's residency, not yet started; None without one. The models of local servers are prepared.
    Raises ResidencyStartError."""
    settings = registry.residency
    if settings is None:
        return None
    try:
        switches = await asyncio.to_thread(_switches, registry, settings, data / "logs")
    except (LocalError, ExpertError) as error:
        raise ResidencyStartError(str(error)) from error
    residency = LiveResidency(registry, settings, switches, _observer(metrics))
    metrics.gauge(
        "coterie_resident_gb", "Memory of loaded experts that take turns.", lambda: residency.taken_gb
    )
    return residency


@contextlib.contextmanager
def sole_process(registry: Registry, data: Path, workers: int) -> Iterator[None]:
    """Keeps a second process from managing the same memory, where there is residency. Raises
    ResidencyStartError."""
    if registry.residency is None:
        yield
        return
    if workers > 1:
        raise ResidencyStartError(
            "COTERIE_WORKERS: experts that take turns (`residency` in the registry) need the API to be one "
            f"process, not {workers}: set it to 1, or take the section out"
        )
    data.mkdir(parents=True, exist_ok=True)
    with (data / "residency.lock").open("a", encoding="ascii") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ResidencyStartError(
                "another process loads and unloads experts already: `residency` in the registry needs the "
                f"API to be one process ({held.name} is locked)"
            ) from error
        yield


def _switches(registry: Registry, settings: ResidencySettings, logs: Path) -> Mapping[str, ServerSwitch]:
    """Blocks, for minutes where models have to be fetched."""
    key = _key(settings)
    return {
        name: _own(experts, settings, logs) if experts[0].local else _running(experts[0], key)
        for name, experts in managed_servers(registry).items()
    }


def _running(expert: Expert, key: SecretStr | None) -> ServerSwitch:
    return RunningServer(SleepEndpoints((expert.endpoint or "").removesuffix("/v1"), key))


def _own(experts: list[Expert], settings: ResidencySettings, logs: Path) -> ServerSwitch:
    """Each is prepared as if it had the machine for itself: others give way for it."""
    sleeps = settings.leaves != "stopped"
    if sleeps and serves_on_cpu(default_python()):
        raise ResidencyStartError(
            f"residency.leaves: {settings.leaves} needs a GPU, and this vLLM is the CPU's: say "
            "`leaves: stopped`"
        )
    (server,) = prepare_servers(Registry.of(*experts))
    return OwnServer(server, logs, SupervisorLimits(ready_s=settings.start_s), sleeps=sleeps)


def _key(settings: ResidencySettings) -> SecretStr | None:
    if settings.key_env is None:
        return None
    value = os.environ.get(settings.key_env, "").strip()
    if not value:
        raise ResidencyStartError(f"residency.key_env: {settings.key_env} is not set in the environment")
    return SecretStr(value)


def _observer(metrics: Metrics) -> ResidencyObserver:
    def switched(server: str, kind: str, seconds: float, failure: str | None) -> None:
        metrics.residency_switches.labels(server, kind, "failed" if failure else "ok").inc()
        metrics.residency_seconds.labels(server, kind).observe(seconds)
        if failure:
            log.warning("residency_failed", server=server, kind=kind, seconds=round(seconds, 3), why=failure)
        else:
            log.info("residency_switched", server=server, kind=kind, seconds=round(seconds, 3))

    def waited(server: str, seconds: float) -> None:
        metrics.residency_wait_seconds.labels(server).observe(seconds)

    return ResidencyObserver(switched, waited)
