"""Local experts, API and console as child processes on this machine, until Ctrl-C."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from app.errors import StartError
from app.listening import bind, on_signals, url_of
from app.operations.expert_speeds import MeasuredServer, answer_tokens, tell_speeds
from app.operations.process_group import Child, Say
from app.settings import PROJECT, Settings
from experts.local.errors import ServerError
from experts.local.supervisor import ServerState, ServerStatus, Supervisor
from experts.local.vllm import Server

CONSOLE_GRACE_S = 5.0
POLL_S = 0.25
PROBE_S = 5.0
REMIND_S = 15.0


@dataclass(frozen=True, slots=True)
class UpPlan:
    """What to run. `environment` configures the API's process; `servers` are the local experts; the speed of
    `measured` is told once they are ready."""

    settings: Settings
    servers: tuple[Server, ...]
    environment: Mapping[str, str]
    console: bool = True
    measured: tuple[MeasuredServer, ...] = ()

    @property
    def api_url(self) -> str:
        return url_of(self.settings.host, self.settings.port)

    @property
    def console_url(self) -> str:
        return url_of(self.settings.console_host, self.settings.console_port)


def require_ports(settings: Settings, *, console: bool) -> None:
    """Raise StartError, before anything is started, when a port is taken."""
    wanted = [("API", settings.host, settings.port, "--port")]
    if console:
        wanted.append(("console", settings.console_host, settings.console_port, "--console-port"))
    for what, host, port, option in wanted:
        try:
            bind(host, port).close()
        except StartError as error:
            cause = error.__cause__
            why = cause.strerror if isinstance(cause, OSError) else "taken"
            raise StartError(
                f"port {port} of the {what} cannot be used ({why}): stop what uses it, or choose {option}"
            ) from error


async def run_up(plan: UpPlan, say: Say) -> int:
    """Run `plan` until SIGINT or SIGTERM, or until a part that is needed ends; returns the exit code.

    `say` is told every line: the part's name and the text. A second signal stops waiting for answers.
    """
    stopping = asyncio.Event()
    children = [_api(plan, say)]
    if plan.console:
        children.append(_console(plan, say))

    def stop() -> None:
        if stopping.is_set():
            for child in children:
                child.kill()
        stopping.set()

    with on_signals(stop, signal.SIGINT, signal.SIGTERM):
        return await _run(plan, children, say, stopping)


async def _run(plan: UpPlan, children: Sequence[Child], say: Say, stopping: asyncio.Event) -> int:
    supervisor = Supervisor(
        plan.servers,
        logs=plan.settings.data / "logs",
        on_change=lambda status: say("experts", _status_line(status)),
    )
    async with _stopped_at_the_end(children, supervisor, say):
        for child in children:
            await child.start()
        ready = asyncio.Event()
        experts = asyncio.create_task(_keep_experts(plan.servers, supervisor, ready, say))
        announcing = asyncio.create_task(_announce(plan, ready, say))
        ends = {asyncio.create_task(child.ended()): child for child in children}
        stop = asyncio.create_task(stopping.wait())
        try:
            done, _ = await asyncio.wait({*ends, stop, experts}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*ends, stop, experts, announcing):
                task.cancel()
            await asyncio.gather(*ends, stop, experts, announcing, return_exceptions=True)
        if stop in done:
            return 0
        for task, child in ends.items():
            if task in done:
                say("coterie", f"the {child.name} has ended with code {task.result()}: stopping the rest")
        if experts in done and (error := experts.exception()) is not None:
            if not isinstance(error, ServerError):
                raise error
            say("coterie", f"{error}")
        return 1


async def _keep_experts(
    servers: Sequence[Server], supervisor: Supervisor, ready: asyncio.Event, say: Say
) -> None:
    """Start the local experts and keep them; `ready` is set when all are. Raises ServerError when one cannot
    start, or when all have failed for good; one that fails later is reported and the others go on."""
    if not supervisor.statuses:
        await asyncio.Future()
    for server in servers:
        if server.about:
            say("experts", f"{server.name}: {server.about}")
    await supervisor.start()
    say("experts", "all local experts are ready")
    ready.set()
    failure = await supervisor.failed()
    say("experts", str(failure))
    # A supervisor tells of its first failure only.
    while any(each.state is not ServerState.FAILED for each in supervisor.statuses.values()):  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)
    raise failure


async def _announce(plan: UpPlan, experts_ready: asyncio.Event, say: Say) -> None:
    """Print the URLs as soon as they answer, and then the speeds of the experts."""
    started = time.monotonic()
    await _until_ok(f"{plan.api_url}/healthz")
    say("coterie", f"API answers at {plan.api_url}/v1 after {time.monotonic() - started:.1f} s")
    if plan.console:
        await _until_ok(f"{plan.console_url}/_stcore/health")
        say("coterie", f"console answers at {plan.console_url}")
    reminding = asyncio.create_task(_remind(say, started))
    try:
        await _until_ok(f"{plan.api_url}/readyz")
    finally:
        reminding.cancel()
    say("coterie", f"ready after {time.monotonic() - started:.0f} s. Ctrl-C stops everything.")
    say("coterie", f"  API      {plan.api_url}/v1   (model: coterie)")
    if plan.console:
        say("coterie", f"  console  {plan.console_url}")
    if plan.measured:
        await experts_ready.wait()
        tokens = await asyncio.to_thread(answer_tokens, plan.settings.composition)
        await tell_speeds(plan.measured, tokens, say)


async def _remind(say: Say, started: float) -> None:
    while True:
        await asyncio.sleep(REMIND_S)
        say("coterie", f"waiting for an expert to be ready ({time.monotonic() - started:.0f} s) …")


async def _until_ok(url: str) -> None:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=PROBE_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(POLL_S)


def _api(plan: UpPlan, say: Say) -> Child:
    command = [sys.executable, "-m", "app.cli", "serve"]
    environment = {
        **plan.environment,
        "PYTHONPATH": str(PROJECT),
        "COTERIE_HOST": plan.settings.host,
        "COTERIE_PORT": str(plan.settings.port),
        "COTERIE_WORKERS": str(plan.settings.workers),
        "COTERIE_LOG_FORMAT": "text",
        "NO_COLOR": "1",
    }
    grace_s = plan.settings.stop_grace_s + plan.settings.record_flush_s
    return Child("api", command, environment, grace_s=grace_s, say=say)


def _console(plan: UpPlan, say: Say) -> Child:
    settings = plan.settings
    options = {
        "server.address": settings.console_host,
        "server.port": str(settings.console_port),
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
    }
    command = [sys.executable, "-m", "streamlit", "run", str(PROJECT / "ui" / "console.py")]
    command += [word for name, value in options.items() for word in (f"--{name}", value)]
    environment = {"PYTHONPATH": str(PROJECT), "COTERIE_API_URL": plan.api_url}
    return Child("console", command, environment, grace_s=CONSOLE_GRACE_S, say=say)


@contextlib.asynccontextmanager
async def _stopped_at_the_end(
    children: Sequence[Child], supervisor: Supervisor, say: Say
) -> AsyncIterator[None]:
    """The console first, since it asks the API; the experts last, since answers may be in flight."""
    try:
        yield
    finally:
        say("coterie", "stopping")
        for child in reversed(children):
            await child.stop()
        await supervisor.stop()
        say("coterie", "stopped")


def _status_line(status: ServerStatus) -> str:
    return f"{status.name}: {status.state}{f' ({status.detail})' if status.detail else ''}"
