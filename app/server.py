"""One uvicorn server in this process: binds, serves, stops gracefully, and only then closes the services."""

import asyncio
import contextlib
import ctypes
import gc
import signal
from collections.abc import AsyncIterator, Callable, Iterator

import structlog
import uvicorn

from app.composition_reload import Reloader, ReloadError
from app.factory import create_app
from app.listening import BACKLOG, bind, has_terminal, on_signals, url_of
from app.services import Services
from app.settings import Settings
from app.startup import open_services

YOUNG_OBJECTS = 20_000
"""Containers made, and not freed since, after which Python looks for cycles (its own: 700)."""

log = structlog.get_logger(__name__)


class HttpServer(uvicorn.Server):
    """Leaves signals to whoever runs it: uvicorn would raise them again before the last decisions are
    written."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Accept nothing more and finish what is in flight; the second time, wait for nobody."""
        self.force_exit = self.should_exit
        self.should_exit = True


def http_server(services: Services) -> HttpServer:
    """A server of the API, to be run with a socket that is bound."""
    settings = services.settings
    config = uvicorn.Config(
        create_app(services=services),
        log_config=None,
        access_log=False,
        ws="none",
        lifespan="off",
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=max(1, round(settings.stop_grace_s)),
    )
    return HttpServer(config)


async def serve(settings: Settings, on_ready: Callable[[str], None] = lambda _: None) -> None:
    """Serve until SIGINT or SIGTERM: stop accepting, finish what is in flight within `stop_grace_s`,
    write what is left. A second signal stops waiting. `on_ready` is told the URL.

    Raises StartError with what to do when the service cannot start.
    """
    with contextlib.closing(bind(settings.host, settings.port)) as listener:
        async with open_services(settings) as services:
            server = http_server(services)
            url = url_of(settings.host, listener.getsockname()[1])
            with on_signals(server.stop, signal.SIGINT, signal.SIGTERM):
                async with _reloading_on_hangup(services.reloader):
                    settle_memory()
                    log.info("serving", url=url)
                    on_ready(url)
                    await server.serve(sockets=[listener])
            log.info("stopping", rows_waiting=services.recorder.waiting)
    log.info("stopped")


def settle_memory() -> None:
    """Give back what the start alone needed, some 10 MB, and take what is left out of garbage collection: the
    modules, models and routes stay until the process ends, and looking through them stops all requests for
    some 50 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc's alone
        trim(0)


@contextlib.asynccontextmanager
async def _reloading_on_hangup(reloader: Reloader) -> AsyncIterator[None]:
    """SIGHUP reloads a daemon. With a terminal it means that the terminal is gone, and ends the process."""
    if has_terminal():
        yield
        return
    loop = asyncio.get_running_loop()
    running: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        # A refusal is logged where it happens, and the service goes on with what it has.
        with contextlib.suppress(ReloadError):
            await reloader.reload()

    def begin() -> None:
        task = loop.create_task(reload())
        running.add(task)
        task.add_done_callback(running.discard)

    try:
        with on_signals(begin, signal.SIGHUP):
            yield
    finally:
        await asyncio.gather(*running)
