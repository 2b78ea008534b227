"""Supervision of servers: start, health checks, restart with backoff, stop, logs and causes of exits. Each
runs under `process_reaper.py`."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from base.processes import end_process
from base.retries import RetryPolicy
from experts.local import process_reaper
from experts.local.errors import Cause, ServerError
from experts.local.exit_causes import explain, oom_kills
from experts.local.server_logs import open_log, tail
from experts.local.vllm import Server


class ServerState(StrEnum):
    """RESTARTING includes the wait before it; FAILED servers are not started again."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """`since` on the monotonic clock; `pid` of the process reaper; `detail`: why it exited last."""

    name: str
    state: ServerState
    since: float
    restarts: int = 0
    pid: int | None = None
    detail: str = ""

    @property
    def seconds(self) -> float:
        """Seconds in this state."""
        return time.monotonic() - self.since


@dataclass(frozen=True, slots=True)
class SupervisorLimits:
    """`ready_s`: from start to the first good health check (weights may have to be downloaded); `poll_s`,
    `check_s`: between health checks while starting and running; `unresponsive_s`: failing checks before a
    restart (long, since a busy CPU server answers late); `backoff_s` doubles per restart up to
    `backoff_max_s`; `max_restarts` in a row, forgotten after `stable_s`; `stop_s`: from SIGTERM to SIGKILL;
    `kept_logs`: older logs per server."""

    ready_s: float = 900.0
    poll_s: float = 0.5
    check_s: float = 10.0
    unresponsive_s: float = 300.0
    backoff_s: float = 1.0
    backoff_max_s: float = 60.0
    max_restarts: int = 5
    stable_s: float = 300.0
    stop_s: float = 20.0
    kept_logs: int = 8


FATAL = frozenset({Cause.PORT_TAKEN, Cause.WRONG_MODEL, Cause.NO_ENVIRONMENT})
"""Causes that a restart does not cure."""


def _ignore(status: ServerStatus) -> None:
    pass


class Supervisor:
    """Runs `servers` with logs in the folder `logs`.

        async with Supervisor(servers, logs=folder) as supervisor:
            await supervisor.failed()

    Entering starts all concurrently and returns when all are ready; if one fails, the others are stopped and
    its `ServerError` is raised. `on_change` is called for every change of state, restarts or detail. Belongs
    to one event loop.
    """

    def __init__(
        self,
        servers: Iterable[Server],
        *,
        logs: Path,
        limits: SupervisorLimits | None = None,
        on_change: Callable[[ServerStatus], None] = _ignore,
    ) -> None:
        self.limits = limits or SupervisorLimits()
        self.logs = logs.absolute()
        self._on_change = on_change
        self._changed = asyncio.Event()
        self._told: dict[str, tuple[ServerState, int, str]] = {}
        self._managed = {
            server.name: _ManagedServer(server, self.logs, self.limits, self._tell) for server in servers
        }

    @property
    def statuses(self) -> Mapping[str, ServerStatus]:
        return {name: server.status for name, server in self._managed.items()}

    def log(self, name: str) -> Path:
        """The log of the server's latest start."""
        return self._managed[name].log

    async def start(self) -> None:
        """Start all and wait until all are ready. Raises `ServerError`, with nothing left running."""
        for managed in self._managed.values():
            _require_port(managed.server)  # before any start, which takes minutes
        for managed in self._managed.values():
            managed.begin()
        try:
            await asyncio.gather(*(managed.ready for managed in self._managed.values()))
        except BaseException:
            await self.stop()
            raise

    async def until(self, name: str, holds: Callable[[ServerStatus], bool]) -> ServerStatus:
        """Wait until the status of the server `name` satisfies `holds`."""
        while not holds(status := self.statuses[name]):
            self._changed.clear()
            await self._changed.wait()
        return status

    async def failed(self) -> ServerError:
        """Wait until a server has failed for good, and return its error. The others keep running."""
        waiting = [managed.failure for managed in self._managed.values()]
        if not waiting:
            await asyncio.Future()
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return next(iter(done)).result()

    async def stop(self) -> None:
        """Stop all; returns when no process is left. Idempotent."""
        await asyncio.gather(*(managed.end() for managed in self._managed.values()))

    def _tell(self, status: ServerStatus) -> None:
        self._changed.set()
        told = (status.state, status.restarts, status.detail)
        if self._told.get(status.name) != told:
            self._told[status.name] = told
            self._on_change(status)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class _ManagedServer:
    """One server with its process and status."""

    def __init__(
        self, server: Server, logs: Path, limits: SupervisorLimits, on_change: Callable[[ServerStatus], None]
    ) -> None:
        self.server = server
        self.limits = limits
        self.log = logs / f"{server.name}.log"
        self.status = ServerStatus(server.name, ServerState.STOPPED, time.monotonic())
        self._on_change = on_change
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self.ready: asyncio.Future[None]
        self.failure: asyncio.Future[ServerError]

    def begin(self) -> None:
        loop = asyncio.get_running_loop()
        self.ready = loop.create_future()
        self.failure = loop.create_future()
        self._become(ServerState.STARTING, detail="", restarts=0)
        self._task = asyncio.create_task(self._keep(), name=f"keep {self.server.name}")

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
            self.ready.cancel()
            self.failure.cancel()
        await self._stop_process()
        if self.status.state is not ServerState.STOPPED:
            self._become(ServerState.STOPPED)

    async def _keep(self) -> None:
        limits = self.limits
        backoff = RetryPolicy(first_wait_s=limits.backoff_s, longest_wait_s=limits.backoff_max_s)
        while True:
            try:
                await self._run_once()
            except ServerError as error:
                await self._stop_process()
                first = not self.ready.done()
                if first or error.cause in FATAL or self.status.restarts >= limits.max_restarts:
                    self._give_up(error, first=first)
                    return
                restarts = self.status.restarts + 1
                self._become(ServerState.RESTARTING, detail=str(error), restarts=restarts)
                await asyncio.sleep(backoff.delay(restarts - 1))

    def _give_up(self, error: ServerError, *, first: bool) -> None:
        if self.status.restarts and error.cause not in FATAL:
            error = ServerError(
                error.server,
                error.cause,
                f"gave up after {self.status.restarts} restarts; last: {error.message}",
                exit_code=error.exit_code,
            )
        self._become(ServerState.FAILED, detail=str(error))
        self.failure.set_result(error)
        if first:
            self.ready.set_exception(error)

    async def _run_once(self) -> None:
        """Start the server and watch it until it fails with `ServerError`."""
        _require_port(self.server)
        kills = oom_kills()
        process = await self._launch()
        exited = asyncio.create_task(process.wait())
        try:
            if await self._becomes_ready(exited):
                self._become(ServerState.READY)
                if not self.ready.done():
                    self.ready.set_result(None)
                await self._watch(exited)
        finally:
            exited.cancel()
        raise explain(
            self.server.name,
            await process.wait(),
            await asyncio.to_thread(tail, self.log),
            log=self.log,
            memory_ran_out=oom_kills() > kills,
        )

    async def _launch(self) -> asyncio.subprocess.Process:
        grace = str(self.limits.stop_s)
        try:
            with open_log(self.log, kept=self.limits.kept_logs) as log:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-S", process_reaper.__file__, grace, *self.server.command),
                    stdin=asyncio.subprocess.PIPE,  # its closing tells the reaper that we have ended
                    stdout=log,
                    stderr=log,
                    env=_environment(self.server),
                    # In the current folder `python -m` would find our packages before vLLM's.
                    cwd=self.log.parent,
                    start_new_session=True,  # Ctrl-C is handled by us
                )
        except OSError as error:
            raise ServerError(
                self.server.name, Cause.CRASHED, f"cannot be run: {error.strerror or error} (log: {self.log})"
            ) from error
        self._process = process
        self._become(self.status.state, pid=process.pid)
        return process

    async def _becomes_ready(self, exited: "asyncio.Task[int]") -> bool:
        """Wait for a good health check; False if the process ends before."""
        deadline = time.monotonic() + self.limits.ready_s
        while not exited.done():
            if await self._healthy():
                return True
            if time.monotonic() > deadline:
                raise ServerError(
                    self.server.name,
                    Cause.NOT_READY,
                    f"not ready after {self.limits.ready_s:g} s; its log: {self.log}",
                )
            await asyncio.wait([exited], timeout=self.limits.poll_s)
        return False

    async def _watch(self, exited: "asyncio.Task[int]") -> None:
        """Returns when the process has ended; raises when it no longer answers."""
        answered = began = time.monotonic()
        while not exited.done():
            await asyncio.wait([exited], timeout=self.limits.check_s)
            now = time.monotonic()
            if not exited.done() and await self._healthy():
                answered = now
            elif now - answered > self.limits.unresponsive_s:
                raise ServerError(
                    self.server.name,
                    Cause.CRASHED,
                    f"has not answered for {now - answered:.0f} s; its log: {self.log}",
                )
            if self.status.restarts and now - began > self.limits.stable_s:
                self._become(ServerState.READY, restarts=0, detail="")

    async def _healthy(self) -> bool:
        """One HTTP/1.0 GET."""
        request = f"GET {self.server.health} HTTP/1.0\r\nHost: {self.server.host}\r\n\r\n"
        try:
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(self.server.host, self.server.port)
                try:
                    writer.write(request.encode("ascii"))
                    line = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
        return line.split()[1:2] == [b"200"]

    async def _stop_process(self) -> None:
        if self._process is not None:
            # The process reaper enforces `stop_s` itself.
            await end_process(self._process, self.limits.stop_s + 5)
            self._process = None

    def _become(
        self,
        state: ServerState,
        *,
        pid: int | None = None,
        detail: str | None = None,
        restarts: int | None = None,
    ) -> None:
        old = self.status
        over = state in {ServerState.STOPPED, ServerState.FAILED}
        self.status = ServerStatus(
            name=old.name,
            state=state,
            since=old.since if state is old.state else time.monotonic(),
            restarts=old.restarts if restarts is None else restarts,
            pid=None if over else pid or old.pid,
            detail=old.detail if detail is None else detail,
        )
        self._on_change(self.status)


def _environment(server: Server) -> dict[str, str]:
    """Our environment without COTERIE_ variables (settings, secrets) and with the server's additions."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("COTERIE_")}
    return {**ours, **server.environment}


def _require_port(server: Server) -> None:
    try:
        with socket.create_server((server.host, server.port)):
            pass
    except OSError as error:
        raise ServerError(
            server.name,
            Cause.PORT_TAKEN,
            f"port {server.port} on {server.host} is taken ({error.strerror}): stop what listens there "
            "(an earlier run of this program, perhaps) or give the expert another local.port",
        ) from error
