"""The service's side of residency: requests wait until their server is loaded, and servers are woken and put
to sleep as `experts.residency.residency` says. Belongs to one event loop, and to one process: a second would
count neither its requests nor its memory.
"""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from experts.admission import LONGEST_WAIT_S, endpoint_key
from experts.errors import ExpertUnavailable, QueueFull
from experts.expert import Expert
from experts.registry import Registry
from experts.residency.residency import (
    Residency,
    ResidencyLimits,
    ResidencyState,
    ResidentServer,
    TooManyWaiting,
)
from experts.residency.residency_policies import POLICIES
from experts.residency.server_switches import ServerSwitch
from experts.residency.sleep_endpoints import SwitchFailed
from experts.residency_settings import BATCH_S, Absence, ResidencySettings

CHECK_S = 10.0
"""Between looks at servers that others may have woken, stopped or started."""
LOOK_S = 5.0
"""For one look."""

SwitchKind = Literal["wake", "sleep"]


@dataclass(frozen=True, slots=True)
class ResidencyFacts:
    """What becomes of one expert's server. `absence`: how it is away, None unless it is asleep."""

    state: ResidencyState
    absence: Absence | None
    memory_gb: float
    in_use: int
    waiting: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ResidencyObserver:
    """Is told of every switch (server, kind, seconds, why it failed or None) and every wait (server,
    seconds)."""

    switched: Callable[[str, SwitchKind, float, str | None], None] = lambda *_: None
    waited: Callable[[str, float], None] = lambda *_: None


@dataclass(eq=False, slots=True)
class _Ticket:
    """A request that waits; `ready` has its failure where the server could not be loaded."""

    server: str
    ready: "asyncio.Future[str | None]" = field(default_factory=lambda: _future())


def _future() -> "asyncio.Future[str | None]":
    return asyncio.get_running_loop().create_future()


def managed_servers(registry: Registry) -> dict[str, list[Expert]]:
    """The experts that take turns, by their server: that of the first of them in the registry."""
    found: dict[str, list[Expert]] = {}
    first: dict[str, str] = {}
    if registry.residency is not None:
        for expert in registry.experts.values():
            if expert.memory_gb is not None:
                found.setdefault(first.setdefault(endpoint_key(expert), expert.name), []).append(expert)
    return found


class LiveResidency:
    """`switches`: one for each of `managed_servers`."""

    def __init__(
        self,
        registry: Registry,
        settings: ResidencySettings,
        switches: Mapping[str, ServerSwitch],
        observer: ResidencyObserver | None = None,
        *,
        check_s: float = CHECK_S,
    ) -> None:
        self.settings = settings
        self._switches = dict(switches)
        self._observer = observer or ResidencyObserver()
        self._check_s = check_s
        self._servers: dict[str, ResidentServer] = {}
        self._server_of: dict[str, str] = {}
        for name, experts in managed_servers(registry).items():
            memory = experts[0].memory_gb or 0.0
            weights = memory if experts[0].weights_gb is None else experts[0].weights_gb
            self._servers[name] = ResidentServer(name, memory, weights)
            self._server_of |= {expert.name: name for expert in experts}
        self._limits = ResidencyLimits(
            settings.memory_gb,
            math.inf if settings.host_memory_gb is None else settings.host_memory_gb,
            leaves=settings.leaves,
            batch_s=BATCH_S[settings.leaves] if settings.batch_s is None else settings.batch_s,
            max_waiting=settings.max_waiting,
            prefetch=settings.prefetch,
        )
        self._core = self._new_core({})
        self._details: dict[str, str] = {}
        self._took_s: dict[str, float] = {}
        """The last wake of each server."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def _new_core(self, absence: Mapping[str, Absence]) -> Residency:
        policy = POLICIES[self.settings.policy](tuple(self._servers))
        return Residency(tuple(self._servers.values()), self._limits, policy, absence=absence)

    async def start(self) -> None:
        """Find out who is loaded, and begin. Raises nothing for servers that do not answer: they are away."""
        looks = await asyncio.gather(*(self._look(name) for name in self._servers))
        found = dict(zip(self._servers, looks, strict=True))
        away: dict[str, Absence] = {name: where or "stopped" for name, (where, _) in found.items()}
        self._core = self._new_core(away)
        for name, (where, answers) in found.items():
            if answers and where is None:
                self._core.woke(name)
            elif where is None:
                # It runs, perhaps, and takes its memory.
                self._core.died(name, time.monotonic(), lost=True)
            self._switches[name].on_death(partial(self._died, name))
        self._act()
        self._spawn(self._watch())

    async def stop(self) -> None:
        """Stop acting; servers of ours end, others stay as they are. Idempotent."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(switch.close() for switch in self._switches.values()))

    async def enter(self, expert: Expert) -> None:
        """Wait until the expert's server is loaded, and keep it loaded until `leave`. Raises `QueueFull` when
        too many wait or after `wait_s`, `ExpertUnavailable` when it cannot be loaded."""
        if (name := self._server_of.get(expert.name)) is not None:
            await self._enter(expert, name)

    def leave(self, expert: Expert) -> None:
        """The request that entered is done."""
        if (name := self._server_of.get(expert.name)) is not None:
            self._finish(name)

    def away(self, expert: str) -> Literal["asleep", "waking"] | None:
        """Whether the expert's server is out of memory, or on its way in."""
        name = self._server_of.get(expert)
        state = None if name is None else self._core.state(name)
        if state is None or state == "resident":
            return None
        return "waking" if state == "waking" else "asleep"

    def facts(self, expert: str) -> ResidencyFacts | None:
        """The expert's server; None for one that takes no turns."""
        name = self._server_of.get(expert)
        if name is None:
            return None
        return ResidencyFacts(
            self._core.state(name),
            self._core.absence(name),
            self._servers[name].memory_gb,
            self._core.in_use(name),
            self._core.waiting(name),
            self._details.get(name, ""),
        )

    @property
    def taken_gb(self) -> float:
        """Memory of loaded servers, and of those that come and go."""
        return self._core.taken_gb

    async def _enter(self, expert: Expert, name: str) -> None:
        ticket, begun = _Ticket(name), time.monotonic()
        try:
            if self._core.request(ticket, name, begun):
                return
        except TooManyWaiting:
            waiting = self._core.waiting(name)
            raise self._full(expert, name, f"not loaded, and {waiting} requests wait for it") from None
        self._act()
        failure = None
        try:
            async with asyncio.timeout(self.settings.wait_s):
                failure = await ticket.ready
        except BaseException as error:
            if ticket.ready.done() and not ticket.ready.cancelled() and ticket.ready.result() is None:
                self._finish(name)
            else:
                self._core.leave(ticket, name)
                self._act()
            if isinstance(error, TimeoutError):
                why = "it is being loaded" if self._core.state(name) == "waking" else "others are in use"
                said = f"not loaded in {self.settings.wait_s:g} s: {why}"
                raise self._full(expert, name, said) from None
            raise
        finally:
            self._observer.waited(name, time.monotonic() - begun)
        if failure is not None:
            raise ExpertUnavailable(expert.name, f"Expert {expert.name} could not be loaded: {failure}.")

    def _full(self, expert: Expert, name: str, why: str) -> QueueFull:
        """A switch is about what there is to wait for."""
        error = QueueFull(expert.name, f"Expert {expert.name} is {why}.")
        error.retry_after_s = min(LONGEST_WAIT_S, max(1.0, self._took_s.get(name, 1.0)))
        return error

    def _finish(self, name: str) -> None:
        if self._core.finish(name):
            self._act()

    def _act(self) -> None:
        """Do what the core says."""
        if self._closed:
            return
        step = self._core.step(time.monotonic())
        gave_up = False
        for ticket in step.granted:
            if isinstance(ticket, _Ticket) and ticket.ready.done():
                # In this very moment.
                gave_up = self._core.finish(ticket.server) or gave_up
            elif isinstance(ticket, _Ticket):
                ticket.ready.set_result(None)
        for name, absence in step.wake:
            self._spawn(self._wake(name, absence))
        for name, absence in step.sleep:
            self._spawn(self._sleep(name, absence))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if step.again_at is not None:
            wait_s = max(0.0, step.again_at - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._act)
        if gave_up:
            self._act()

    async def _wake(self, name: str, absence: Absence) -> None:
        begun = time.monotonic()
        bound_s = self.settings.start_s if absence == "stopped" else self.settings.wake_s
        failure = await self._tried(self._switches[name].wake(absence), bound_s)
        self._took_s[name] = time.monotonic() - begun
        self._note(name, "wake", self._took_s[name], failure)
        if failure is None:
            self._core.woke(name)
        else:
            await self._fail(name, absence, failure.message)
        self._act()

    async def _fail(self, name: str, absence: Absence, failure: str) -> None:
        """Tell who waits at once, since to bring the server to rest may take long."""
        self._dismiss(self._core.dismiss(name), failure)
        where = await self._settled(name, absence)
        waited = self._core.wake_failed(name, time.monotonic(), lost=where is None)
        if where is not None:
            self._core.slept(name, where)
        self._dismiss(waited, failure)

    def _dismiss(self, tickets: Sequence[object], failure: str) -> None:
        for ticket in tickets:
            if isinstance(ticket, _Ticket) and not ticket.ready.done():
                ticket.ready.set_result(failure)

    async def _sleep(self, name: str, absence: Absence) -> None:
        begun = time.monotonic()
        failure = await self._tried(self._switches[name].leave(absence), self.settings.sleep_s)
        self._note(name, "sleep", time.monotonic() - begun, failure)
        if failure is None:
            self._core.slept(name, absence)
        elif (where := await self._settled(name, absence)) is not None:
            self._core.slept(name, where)
        else:
            self._core.died(name, time.monotonic(), lost=True)
        self._act()

    async def _settled(self, name: str, absence: Absence) -> Absence | None:
        """After a failure: how the server is away now, None when nobody knows."""
        try:
            async with asyncio.timeout(self.settings.sleep_s):
                return await self._switches[name].settle(absence)
        except (SwitchFailed, OSError):  # TimeoutError is one
            return None

    def _note(self, name: str, kind: SwitchKind, seconds: float, failure: SwitchFailed | None) -> None:
        self._details[name] = "" if failure is None else failure.message
        self._observer.switched(name, kind, seconds, None if failure is None else failure.detail)

    async def _tried(self, switching: Coroutine[Any, Any, None], bound_s: float) -> SwitchFailed | None:
        """Why it failed, None when it did not."""
        try:
            async with asyncio.timeout(bound_s):
                await switching
        except SwitchFailed as error:
            return error
        except TimeoutError:
            return SwitchFailed(f"not done after {bound_s:g} s")
        except OSError as error:  # no room for its log, perhaps
            return SwitchFailed("its server cannot be run", detail=str(error))
        return None

    def _died(self, name: str) -> None:
        self._details[name] = "its process has ended"
        if self._core.state(name) in {"resident", "asleep"}:
            self._core.died(name, time.monotonic())
            self._act()

    async def _watch(self) -> None:
        """Notice what others do with the servers."""
        while True:
            await asyncio.sleep(self._check_s)
            for name in self._servers:
                before = self._core.state(name)
                if before not in {"resident", "asleep"}:
                    continue
                where, answers = await self._look(name)
                if self._core.state(name) != before:
                    continue
                if before == "asleep" and answers and where is None:
                    self._core.woke(name)
                elif where is not None and (before == "resident" or self._core.lost(name)):
                    self._core.slept(name, where)
            self._act()

    async def _look(self, name: str) -> tuple[Absence | None, bool]:
        """How the server is away (None: it is loaded, or nobody knows), and whether it answers."""
        try:
            async with asyncio.timeout(LOOK_S):
                where = await self._switches[name].absence()
        except SwitchFailed as error:
            self._details[name] = error.message
            return ("stopped" if error.gone else None), False
        except OSError:  # TimeoutError is one
            return None, False
        self._details[name] = ""
        return where, True

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
