"""Runs a fake expert, or any ASGI app, on loopback in a thread."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from experts.fake.behaviour import Behaviour, Chooser, Log
from experts.fake.fake_server import create_fake_expert
from experts.fake.sleep_mode import FakeSleep


@dataclass(frozen=True, slots=True)
class RunningFake:
    """A fake expert that serves on loopback."""

    endpoint: str
    """Base URL: "http://127.0.0.1:PORT/v1"."""
    port: int
    log: Log
    sleep: FakeSleep


@contextlib.contextmanager
def run_fake_expert(
    behaviour: Behaviour | Chooser | None = None,
    *,
    port: int = 0,
    name: str = "fake",
    models: Sequence[str] = (),
    context_length: int | None = None,
    api_key: str | None = None,
    sleep: FakeSleep | None = None,
) -> Iterator[RunningFake]:
    """Serve a fake expert in a thread, on `port` or a free one. Raises `OSError` when the port is taken,
    `RuntimeError` when the server does not start in 10 s."""
    app = create_fake_expert(
        behaviour, name=name, models=models, context_length=context_length, api_key=api_key, sleep=sleep
    )
    with serve_in_thread(app, port) as bound:
        yield RunningFake(f"http://127.0.0.1:{bound}/v1", bound, app.state.log, app.state.sleep)


@contextlib.contextmanager
def serve_in_thread(app: Any, port: int = 0) -> Iterator[int]:
    """Serve any ASGI app on loopback in a thread with uvicorn; yields the port."""
    import uvicorn

    class ThreadServer(uvicorn.Server):
        async def main_loop(self) -> None:
            while not self.should_exit:  # noqa: ASYNC110 - another thread sets it; uvicorn looks every 0.1 s
                await asyncio.sleep(0.02)

    # asyncio disables Nagle's algorithm (40 ms per reply on loopback) only for an explicit protocol number.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        config = uvicorn.Config(
            app, log_config=None, log_level="critical", timeout_graceful_shutdown=1, lifespan="off", ws="none"
        )
        server = ThreadServer(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="fake-expert", daemon=True)
        thread.start()
        try:
            deadline = time.monotonic() + 10
            while not server.started:
                if not thread.is_alive() or time.monotonic() > deadline:
                    raise RuntimeError("the fake expert did not start")
                time.sleep(0.005)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(timeout=10)
    finally:
        listener.close()
