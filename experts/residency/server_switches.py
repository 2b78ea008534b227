"""How one server is loaded and leaves memory: one that runs already, by its sleep endpoints; one of ours, by
these or by starting and stopping its process."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from experts.local.errors import ServerError
from experts.local.guard import GUARDED
from experts.local.supervisor import Supervisor, SupervisorLimits
from experts.local.vllm import Server
from experts.residency.sleep_endpoints import SleepEndpoints, SwitchFailed
from experts.residency_settings import Absence

NO_RESTARTS = 0
"""A server that dies is loaded again when somebody asks for it: at once, it might find no memory."""


class ServerSwitch(Protocol):
    """One server. All raise `SwitchFailed`."""

    def on_death(self, call: Callable[[], None]) -> None:
        """What to call when its process has ended by itself, where we can know."""

    async def absence(self) -> Absence | None:
        """How it is away now, None when it is loaded. A sleeping server does not tell its level: it counts as
        level 2, whose wake is right for both."""

    async def wake(self, absence: Absence) -> None: ...

    async def leave(self, absence: Absence) -> None: ...

    async def settle(self, absence: Absence) -> Absence:
        """After a failure: bring it out of memory, by force where we can; returns how it is away."""

    async def close(self) -> None: ...


def _ignore() -> None:
    pass


@dataclass(slots=True)
class RunningServer:
    """A server that somebody else started, and starts again."""

    endpoints: SleepEndpoints

    def on_death(self, call: Callable[[], None]) -> None:
        pass

    async def absence(self) -> Absence | None:
        return "level2" if await self.endpoints.sleeping() else None

    async def wake(self, absence: Absence) -> None:
        # One that was not there may have been started anew, awake.
        if absence != "stopped" or await self.endpoints.sleeping():
            await self.endpoints.wake("level2" if absence == "stopped" else absence)

    async def leave(self, absence: Absence) -> None:
        await self.endpoints.sleep(absence)

    async def settle(self, absence: Absence) -> Absence:
        try:
            if not await self.endpoints.sleeping():
                await self.endpoints.sleep(absence)
        except SwitchFailed as error:
            if error.gone:
                return "stopped"
            raise
        return absence

    async def close(self) -> None:
        pass


@dataclass(slots=True)
class OwnServer:
    """A server that we start. `sleeps`: it knows sleep mode, behind a guard whose key is made here; else it
    is stopped."""

    server: Server
    logs: Path
    limits: SupervisorLimits
    sleeps: bool = False
    _died: Callable[[], None] = _ignore
    _supervisor: Supervisor | None = None
    _watching: "asyncio.Task[None] | None" = None
    _endpoints: SleepEndpoints = field(init=False)

    def __post_init__(self) -> None:
        key = SecretStr(secrets.token_urlsafe(32))
        self._endpoints = SleepEndpoints(f"http://{self.server.host}:{self.server.port}", key)
        if self.sleeps:
            self.server = replace(
                self.server,
                command=(*self.server.command, "--enable-sleep-mode", *GUARDED.words),
                environment={
                    **self.server.environment,
                    **GUARDED.environment(key.get_secret_value()),
                    "VLLM_SERVER_DEV_MODE": "1",
                },
            )
        self.limits = replace(self.limits, max_restarts=NO_RESTARTS)

    def on_death(self, call: Callable[[], None]) -> None:
        self._died = call

    @property
    def pid(self) -> int | None:
        """Of its process reaper, while it runs."""
        supervisor = self._supervisor
        return None if supervisor is None else supervisor.statuses[self.server.name].pid

    async def absence(self) -> Absence | None:
        if self._supervisor is None:
            return "stopped"
        return "level2" if self.sleeps and await self._endpoints.sleeping() else None

    async def wake(self, absence: Absence) -> None:
        if self._supervisor is not None and absence != "stopped":
            await self._endpoints.wake(absence)
            return
        await self.close()
        supervisor = Supervisor([self.server], logs=self.logs, limits=self.limits)
        try:
            await supervisor.start()
        except ServerError as error:
            said = f"its server did not start ({error.cause.value.replace('_', ' ')})"
            raise SwitchFailed(said, gone=True, detail=str(error)) from error
        self._supervisor = supervisor
        self._watching = asyncio.create_task(self._watch(supervisor), name=f"watch {self.server.name}")

    async def leave(self, absence: Absence) -> None:
        if absence == "stopped" or not self.sleeps:
            await self.close()
        else:
            await self._endpoints.sleep(absence)

    async def settle(self, absence: Absence) -> Absence:
        await self.close()
        return "stopped"

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
        if self._supervisor is not None:
            await self._supervisor.stop()
            self._supervisor = None

    async def _watch(self, supervisor: Supervisor) -> None:
        await supervisor.failed()
        self._supervisor, self._watching = None, None
        self._died()
