"""Small real processes and small real wheels: the worlds of these tests."""

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from experts.local.supervisor import SupervisorLimits
from experts.local.vllm import Server

ROOT = Path(__file__).parents[3]

QUICK = SupervisorLimits(
    ready_s=60, poll_s=0.05, check_s=0.05, unresponsive_s=60, backoff_s=0.05, stop_s=3, max_restarts=2
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


SERVE = """
import http.server, os, pathlib, signal, subprocess, sys
options = set(sys.argv[2:])
if "stubborn" in options:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "engine" in options:  # as vLLM's API server does
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        sick = pathlib.Path("sick").exists()
        self.send_response(503 if sick else 200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer.allow_reuse_address = True
print("serving", {name for name in os.environ if name.startswith(("COTERIE_", "ADDED_"))}, flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""


def stand_in(name: str, *options: str, port: int | None = None) -> Server:
    """A server that only has a health check; quicker to start than the fake expert."""
    port = port or free_port()
    return Server(name, (sys.executable, "-I", "-S", "-c", SERVE, str(port), *options), port)


def failing(name: str, code: str) -> Server:
    """A server that runs `code` instead of serving."""
    return Server(name, (sys.executable, "-I", "-S", "-c", code), free_port())


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(holds: Callable[[], object], seconds: float = 60.0) -> None:
    """For what another process does. Fails the test when it takes too long."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail("waited in vain")
        time.sleep(0.02)


def repository_on_path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}
