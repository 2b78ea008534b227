"""Servers that benchmarks start as processes of their own, and wait for."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import yaml

PROJECT = Path(__file__).resolve().parents[1]
START_S = 60.0


def start(
    stack: contextlib.ExitStack,
    words: Sequence[str],
    environment: Mapping[str, str],
    log: IO[str],
    *,
    python: str = sys.executable,
    core: int | None = None,
    before: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """`python -m words`, until the stack closes; on `core` alone where one is given (Linux). `before`: words
    of a command that becomes it."""
    process = subprocess.Popen([*before, python, "-m", *words], env=environment, stdout=log, stderr=log)
    stack.callback(_stop, process)
    if core is not None:
        # Before it has any thread of its own: those that it starts are where it is.
        os.sched_setaffinity(process.pid, {core})
    return process


def granian(function: str, port: int) -> list[str]:
    """The words of `python -m` that serve an ASGI function, `module:name`, on one worker and loopback."""
    options = f"--interface asgi --loop uvloop --port {port} --no-ws --log-level warning"
    return ["granian", *options.split(), function]


def stub_registry(profile: str, endpoint: str, model: str, path: Path, *, max_in_flight: int = 256) -> Path:
    """A registry of the profile's experts, all served by `model` of one endpoint."""
    manifest = json.loads((PROJECT / "routers" / "compositions" / profile / "composition.json").read_text())
    experts = [
        {
            "name": card["name"],
            "endpoint": endpoint,
            "model": model,
            "params_b": card["params_b"],
            "context_length": card["context_length"] or 4096,
            "max_in_flight": max_in_flight,
            "max_queued": 4096,
            "timeouts": {"connect_s": 60},
        }
        for card in manifest["experts"]
    ]
    path.write_text(yaml.safe_dump({"experts": experts}))
    return path


def answers(process: subprocess.Popen[bytes], port: int, path: str, seconds: float = START_S) -> bool:
    """Wait until it answers 200; False if it exits, or does not within `seconds`."""
    deadline = time.perf_counter() + seconds
    while process.poll() is None and time.perf_counter() < deadline:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as response,
        ):
            if response.status == 200:
                return True
        time.sleep(0.05)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
