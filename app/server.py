"""One uvicorn server in this process: binds, serves, stops gracefully, and only then closes the services."""

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import structlog
import uvicorn

from app.composition_reload import Reloader, ReloadError
from app.errors import StartError
from app.factory import create_app
from app.settings import Settings
from app.startup import open_services

BACKLOG = 2048
YOUNG_OBJECTS = 20_000
"""Containers made, and not freed since, after which Python looks for cycles (its own: 700)."""

log = structlog.get_logger(__name__)


class _SignalFreeServer(uvicorn.Server):
    """Leaves signals to `serve`: uvicorn would raise them again before the last decisions are written."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: Settings, on_ready: Callable[[str], None] = lambda _: None) -> None:
    """Serve until SIGINT or SIGTERM: stop accepting, finish what is in flight within `stop_grace_s`,
    write what is left. A second signal stops waiting. `on_ready` is told the URL.

    Raises StartError with what to do when the service cannot start.
    """
    listener = bind(settings.host, settings.port)
    with contextlib.closing(listener):
        async with open_services(settings) as services:
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
            server = _SignalFreeServer(config)
            url = url_of(settings.host, listener.getsockname()[1])

            def stop() -> None:
                server.force_exit = server.should_exit
                server.should_exit = True

            with on_signals(stop, signal.SIGINT, signal.SIGTERM):
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


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's; asyncio's where there is none (Windows)."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def bind(host: str, port: int) -> socket.socket:
    """A bound socket. Raises StartError when the address cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named: asyncio turns Nagle's algorithm off for such sockets only, and an answer
    # whose head and body are two writes would wait 40 ms for the client's acknowledgement in between.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartError(
            f"cannot listen on {host}:{port} ({error.strerror}): stop what uses it or choose another --port"
        ) from error
    return listener


def url_of(host: str, port: int) -> str:
    """The URL of a server bound to `host`, from this machine."""
    if host in {"0.0.0.0", "::"}:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def on_signals(call: Callable[[], None], *numbers: signal.Signals) -> Iterator[None]:
    """Handle the signals by `call` within the block."""
    loop = asyncio.get_running_loop()
    for number in numbers:
        loop.add_signal_handler(number, call)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def _reloading_on_hangup(reloader: Reloader) -> AsyncIterator[None]:
    """SIGHUP reloads a daemon. With a terminal it means that the terminal is gone, and ends the process."""
    if _has_terminal():
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


def _has_terminal() -> bool:
    """Whether a terminal controls this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
