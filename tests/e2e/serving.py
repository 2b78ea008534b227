"""The service as the end-to-end tests run it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from app.factory import create_app
from app.settings import Settings


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """The service in a thread."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the service does not start"
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
