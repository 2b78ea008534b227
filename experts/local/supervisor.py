"""Keep servers running: start, watch, restart, stop, with their logs and the cause when one dies.

Knows processes and health checks; knows neither vLLM nor experts. Each server runs under
`process_reaper.py`, so that nothing of it is left whichever way this process ends.
"""

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

from experts.local import process_reaper
from experts.local.errors import Cause, ServerError
from experts.local.exit_causes import explain, oom_kills
from experts.local.server_logs import open_log, tail
from experts.local.vllm import Server


class State(StrEnum):
    """What a server is doing."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    """It died and is waiting to be started again, or is being started again."""
    FAILED = "failed"
    """It will not be started again."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Status:
    """One server, now. `since` is on the monotonic clock; `pid` that of its reaper."""

    name: str
    state: State
    since: float
    restarts: int = 0
    pid: int | None = None
    detail: str = ""
    """Why it died last, or nothing."""

    @property
    def seconds(self) -> float:
        """How long it has been in this state."""
        return time.monotonic() - self.since


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of supervision, in seconds where not said otherwise."""

    ready_s: float = 900.0
    """From start to the first good health check: weights may have to be downloaded."""
    poll_s: float = 0.5
    """Between health checks while starting."""
    check_s: float = 10.0
    """Between health checks of a running server."""
    unresponsive_s: float = 300.0
    """A running server whose health check fails for so long is restarted. Long, because one that is
    busy on few cores may answer late."""
    backoff_s: float = 1.0
    """Wait before the first restart; doubles with each."""
    backoff_max_s: float = 60.0
    max_restarts: int = 5
    """Restarts in a row; then the server has failed."""
    stable_s: float = 300.0
    """After serving so long the restarts are forgotten."""
    stop_s: float = 20.0
    """From SIGTERM to SIGKILL."""
    kept_logs: int = 8
    """Older logs of each server that are kept, one a start."""


FATAL = frozenset({Cause.PORT_TAKEN, Cause.WRONG_MODEL, Cause.NO_ENVIRONMENT})
"""Starting again would fail again."""


def _ignore(status: Status) -> None:
    pass


class Supervisor:
    """Runs `servers` with their logs in the folder `logs`.

        async with Supervisor(servers, logs=folder) as supervisor:
            await supervisor.failed()

    Entering starts all at once and returns when all are ready; the first that does not start stops
    the others and raises its `ServerError`. Later deaths are met with restarts. `on_change` is told
    of every change of state, restarts or detail. Use from one event loop.
    """

    def __init__(
        self,
        servers: Iterable[Server],
        *,
        logs: Path,
        limits: Limits | None = None,
        on_change: Callable[[Status], None] = _ignore,
    ) -> None:
        self.limits = limits or Limits()
        self.logs = logs.absolute()
        self._on_change = on_change
        self._changed = asyncio.Event()
        self._told: dict[str, tuple[State, int, str]] = {}
        self._keepers = {
            server.name: _Keeper(server, self.logs, self.limits, self._tell) for server in servers
        }

    @property
    def statuses(self) -> Mapping[str, Status]:
        return {name: keeper.status for name, keeper in self._keepers.items()}

    def log(self, name: str) -> Path:
        """The log of the server's latest start."""
        return self._keepers[name].log

    async def start(self) -> None:
        """Start all and wait until all are ready. Raises `ServerError`, with nothing left running."""
        for keeper in self._keepers.values():
            _require_port(keeper.server)  # before any start, so that a taken port costs no minutes
        for keeper in self._keepers.values():
            keeper.begin()
        try:
            await asyncio.gather(*(keeper.ready for keeper in self._keepers.values()))
        except BaseException:
            await self.stop()
            raise

    async def until(self, name: str, holds: Callable[[Status], bool]) -> Status:
        """Wait until the status of the server `name` satisfies `holds`."""
        while not holds(status := self.statuses[name]):
            self._changed.clear()
            await self._changed.wait()
        return status

    async def failed(self) -> ServerError:
        """Wait until a server has failed for good, and return why. The others go on."""
        waiting = [keeper.failure for keeper in self._keepers.values()]
        if not waiting:
            await asyncio.Future()
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return next(iter(done)).result()

    async def stop(self) -> None:
        """Stop all, politely and then not; returns when no process is left. May be called twice."""
        await asyncio.gather(*(keeper.end() for keeper in self._keepers.values()))

    def _tell(self, status: Status) -> None:
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


class _Keeper:
    """Keeps one server running."""

    def __init__(
        self, server: Server, logs: Path, limits: Limits, on_change: Callable[[Status], None]
    ) -> None:
        self.server = server
        self.limits = limits
        self.log = logs / f"{server.name}.log"
        self.status = Status(server.name, State.STOPPED, time.monotonic())
        self._on_change = on_change
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self.ready: asyncio.Future[None]
        self.failure: asyncio.Future[ServerError]

    def begin(self) -> None:
        loop = asyncio.get_running_loop()
        self.ready = loop.create_future()
        self.failure = loop.create_future()
        self._become(State.STARTING, detail="", restarts=0)
        self._task = asyncio.create_task(self._keep(), name=f"keep {self.server.name}")

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
            self.ready.cancel()
            self.failure.cancel()
        await self._stop_process()
        if self.status.state is not State.STOPPED:
            self._become(State.STOPPED)

    async def _keep(self) -> None:
        while True:
            try:
                await self._run_once()
            except ServerError as error:
                await self._stop_process()
                first = not self.ready.done()
                if first or error.cause in FATAL or self.status.restarts >= self.limits.max_restarts:
                    self._give_up(error, first=first)
                    return
                restarts = self.status.restarts + 1
                self._become(State.RESTARTING, detail=str(error), restarts=restarts)
                wait = self.limits.backoff_s * 2 ** (restarts - 1)
                await asyncio.sleep(min(wait, self.limits.backoff_max_s))

    def _give_up(self, error: ServerError, *, first: bool) -> None:
        if self.status.restarts and error.cause not in FATAL:
            error = ServerError(
                error.server,
                error.cause,
                f"gave up after {self.status.restarts} restarts; last: {error.message}",
                exit_code=error.exit_code,
            )
        self._become(State.FAILED, detail=str(error))
        self.failure.set_result(error)
        if first:
            self.ready.set_exception(error)

    async def _run_once(self) -> None:
        """Start the server and watch it. Only returns by raising `ServerError`."""
        _require_port(self.server)
        kills = oom_kills()
        process = await self._launch()
        exited = asyncio.create_task(process.wait())
        try:
            if await self._becomes_ready(exited):
                self._become(State.READY)
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
        with open_log(self.log, kept=self.limits.kept_logs) as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", process_reaper.__file__, grace, *self.server.command),
                stdin=asyncio.subprocess.PIPE,  # never written to: its closing tells that we are gone
                stdout=log,
                stderr=log,
                env=_environment(self.server),
                # Not the current folder: `python -m` would find our packages before vLLM's.
                cwd=self.log.parent,
                start_new_session=True,  # Ctrl-C at the terminal is for us to hand on
            )
        self._process = process
        self._become(self.status.state, pid=process.pid)
        return process

    async def _becomes_ready(self, exited: "asyncio.Task[int]") -> bool:
        """Whether it takes requests; False when it has ended instead."""
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
        """Return when the process has ended; raise when it no longer answers."""
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
                self._become(State.READY, restarts=0, detail="")

    async def _healthy(self) -> bool:
        """One HTTP/1.0 GET: too little to need a client library."""
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
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            process.terminate()
            try:
                # The process_reaper keeps `stop_s` itself; more than that and it hangs.
                async with asyncio.timeout(self.limits.stop_s + 5):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        self._process = None

    def _become(
        self, state: State, *, pid: int | None = None, detail: str | None = None, restarts: int | None = None
    ) -> None:
        old = self.status
        over = state in {State.STOPPED, State.FAILED}
        self.status = Status(
            name=old.name,
            state=state,
            since=old.since if state is old.state else time.monotonic(),
            restarts=old.restarts if restarts is None else restarts,
            pid=None if over else pid or old.pid,
            detail=old.detail if detail is None else detail,
        )
        self._on_change(self.status)


def _environment(server: Server) -> dict[str, str]:
    """Ours without our own settings, among which are secrets, and with the server's additions."""
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
