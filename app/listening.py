"""The event loop, sockets, signals and terminal of a process that serves. Knows nothing of what it serves."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator

from app.errors import StartError

BACKLOG = 2048
"""Connections that wait to be accepted."""


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


def has_terminal() -> bool:
    """Whether a terminal controls this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
