"""One worker: the service in a process that the parent has started, and that does what the parent says.

It begins to serve when the parent lets it, stops when the parent says so or is gone, and reloads when all do.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from app.composition_reload import ReloadError
from app.errors import StartError
from app.listening import new_event_loop, on_signals
from app.server import http_server, settle_memory
from app.services import Services
from app.settings import Settings
from app.siblings import ReloadRefused, Siblings, Worker
from app.startup import open_services
from app.telemetry.logs import configure_logs
from app.workers.channel import Channel, ChannelClosed, QuestionRefused
from app.workers.place import CANNOT_START, Place

WRITTEN_S = 2.0
"""How long a sibling waits for our rows to be written."""

log = structlog.get_logger(__name__)


def work(settings: Settings, place: Place) -> None:
    """Serve until the parent says to stop, or is gone."""
    # The terminal sends these to the whole group: the parent decides, and tells.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    configure_logs(settings.log_level, settings.log_format, worker=place.number)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        sys.exit(runner.run(_Work(settings, place).serve()))


class _Work:
    """One worker's life."""

    def __init__(self, settings: Settings, place: Place) -> None:
        self._settings = settings
        self._place = place
        self._answers: Mapping[str, Callable[[Any], Awaitable[Any]]] = {"stop": self._stop}
        self._stop_asked = 0
        self._stopping = asyncio.Event()

    async def serve(self) -> int:
        """The exit code."""
        channel = await Channel.open(self._place.end, self._answer)
        hearing = asyncio.create_task(self._hear(channel))
        place = self._place
        worker = Worker(place.number, place.count, place.folder, _ByParent(channel))
        try:
            with on_signals(self._ask_to_stop, signal.SIGTERM):
                async with open_services(self._settings, worker=worker) as services:
                    self._answers = {"stop": self._stop, **_answers(services)}
                    with contextlib.suppress(ChannelClosed):
                        await self._serve(channel, services)
                    log.info("stopping", rows_waiting=services.recorder.waiting)
        except QuestionRefused:
            return CANNOT_START  # the parent knows why
        except StartError as error:
            with contextlib.suppress(ChannelClosed):
                await channel.ask("failed", str(error))
            return CANNOT_START
        finally:
            channel.close()
            await hearing
        return 0

    async def _serve(self, channel: Channel, services: Services) -> None:
        if self._stop_asked:
            return
        # The parent lets it serve when it has the composition that the others have.
        ready = asyncio.create_task(channel.ask("ready", services.reloader.identity))
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({ready, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not self._stop_asked:
            await ready
            settle_memory()
            server = http_server(services)
            following = asyncio.create_task(self._follow(server.stop))
            await server.serve(sockets=[self._place.listener])
            following.cancel()
        for task in (ready, stopping):
            task.cancel()
        await asyncio.gather(ready, stopping, return_exceptions=True)

    async def _follow(self, stop: Callable[[], None]) -> None:
        """Hand each wish to stop on to the server."""
        done = 0
        while True:
            await self._stopping.wait()
            self._stopping.clear()
            for _ in range(self._stop_asked - done):
                stop()
            done = self._stop_asked

    async def _answer(self, what: str, given: Any) -> Any:
        if what not in self._answers:
            raise QuestionRefused("the worker is starting or stopping")
        return await self._answers[what](given)

    async def _hear(self, channel: Channel) -> None:
        await channel.run()
        self._ask_to_stop()

    async def _stop(self, now: Any) -> None:
        """`now`: without waiting for answers in flight any longer."""
        self._stop_asked = max(self._stop_asked, 2 if now else 1)
        self._stopping.set()

    def _ask_to_stop(self) -> None:
        self._stop_asked = max(self._stop_asked, 1)
        self._stopping.set()


def _answers(services: Services) -> Mapping[str, Callable[[Any], Awaitable[Any]]]:
    """What the parent and the siblings may ask of a worker that serves."""
    from app.api.decision_routes import running_document

    reloader, recorder, metrics = services.reloader, services.recorder, services.metrics

    async def prepare(_: Any) -> dict[str, Any]:
        try:
            return await reloader.prepare()
        except ReloadError as error:
            raise QuestionRefused(str(error)) from error

    async def commit(noted: bool) -> dict[str, Any]:
        return reloader.commit(noted=noted).document()

    async def abandon(why: str | None) -> None:
        reloader.abandon(why)

    async def written(_: Any) -> bool:
        return await recorder.written(WRITTEN_S)

    async def running(decision_id: str) -> dict[str, Any] | None:
        return running_document(services, decision_id)

    async def gauges(_: Any) -> None:
        metrics.refresh()

    return {
        "prepare": prepare,
        "commit": commit,
        "abandon": abandon,
        "written": written,
        "running": running,
        "gauges": gauges,
    }


class _ByParent(Siblings):
    """Asks through the parent."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def ask(self, what: str, given: Any = None) -> list[Any]:
        try:
            found: list[Any] = await self._channel.ask("others", {"what": what, "given": given})
        except (ChannelClosed, QuestionRefused) as error:
            log.warning("siblings_not_asked", what=what, error=type(error).__name__)
            return []
        return found

    async def reload(self) -> dict[str, Any]:
        try:
            done: dict[str, Any] = await self._channel.ask("reload")
        except ChannelClosed:
            raise ReloadRefused("the service is stopping") from None
        except QuestionRefused as error:
            raise ReloadRefused(str(error)) from error
        return done
