"""A service of several real worker processes over the small world, and connections to each of them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from app.settings import PROJECT
from experts.fake import RunningFake
from routers.encoder import Encoder
from tests.integration.app.world import small_composition, write_registry

WAIT_S = 60.0
TRIES = 300
"""Connections that are opened until one is to the wanted worker."""
KEYS = ("quota", "talks", "responses", "reads", "reloads", "crash", "stops")
"""A key for each subject, so that no test uses up another one's quota."""
QUOTA = 12
"""Escalations an hour."""

Document = dict[str, Any]


class Caller:
    """A client with one key, on connections to one worker alone."""

    def __init__(self, http: httpx2.Client, key: str) -> None:
        self.http = http
        self._headers = {"authorization": f"Bearer secret-{key}"}

    def get(self, path: str) -> httpx2.Response:
        return self.http.get(path, headers=self._headers)

    def post(self, path: str, **body: Any) -> httpx2.Response:
        return self.http.post(path, json=body, headers=self._headers)

    def delete(self, path: str) -> httpx2.Response:
        return self.http.delete(path, headers=self._headers)

    def chat(self, messages: str | Sequence[Document], **fields: Any) -> httpx2.Response:
        said = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        return self.post("/v1/chat/completions", **{"model": "coterie", "messages": said, **fields})

    def stream(self, text: str, **fields: Any) -> AbstractContextManager[httpx2.Response]:
        body = {"model": "coterie", "messages": [{"role": "user", "content": text}], "stream": True, **fields}
        return self.http.stream("POST", "/v1/chat/completions", json=body, headers=self._headers)

    def metric(self, line: str) -> float:
        """The value of a line of the metrics, by its name and labels; 0 when it is not there."""
        for each in self.get("/metrics").text.splitlines():
            if each.startswith(f"{line} "):
                return float(each.rpartition(" ")[2])
        return 0.0


@dataclass
class WorkersService:
    """A running service. `log` has JSON lines, each of a worker with its number."""

    process: subprocess.Popen[bytes]
    url: str
    composition: Path
    log: Path
    _connections: dict[int, httpx2.Client] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def of(self, worker: int, key: str) -> Caller:
        """A caller whose requests reach `worker`, on a connection that is kept."""
        for _ in range(TRIES):
            if (known := self._connections.get(worker)) is not None:
                with suppress(httpx2.TransportError):  # its worker may have ended
                    if self._reached(known) == worker:
                        return Caller(known, key)
                del self._connections[worker]
            new = self.client()
            self._connections.setdefault(self._reached(new), new)
        raise AssertionError(f"no connection came to worker {worker}")

    def client(self) -> httpx2.Client:
        """With a connection of its own, to any worker."""
        limits = httpx2.Limits(max_connections=1, max_keepalive_connections=1)
        return self._stack.enter_context(httpx2.Client(base_url=self.url, limits=limits, timeout=WAIT_S))

    def lines(self, event: str) -> list[Document]:
        """The lines of the log with this event."""
        found = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [line for line in found if line.get("event") == event]

    def until(self, event: str, holds: Callable[[list[Document]], bool]) -> list[Document]:
        """Wait until the log's lines with this event are as wanted."""
        deadline = time.monotonic() + WAIT_S
        while not holds(found := self.lines(event)):
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.02)
        return found

    def pid(self, worker: int) -> int:
        """The worker's process, of the latest start."""
        return int([line["pid"] for line in self.lines("worker_started") if line["worker"] == worker][-1])

    def stop(self) -> int:
        """Ask for a graceful stop; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)

    def close(self) -> None:
        self._stack.close()
        if self.process.poll() is None:
            self.stop()

    def _reached(self, client: httpx2.Client) -> int:
        """Whom a request of this client comes to: the log says it."""
        name = f"who-{uuid4().hex}"
        client.get("/v1/models", headers={"x-request-id": name})
        found = self.until("request", lambda lines: any(line["request_id"] == name for line in lines))
        return int(next(line["worker"] for line in found if line["request_id"] == name))


@contextmanager
def running_workers(
    folder: Path,
    fakes: Mapping[str, RunningFake],
    encoder: Encoder,
    database_url: str | None = None,
    workers: int = 2,
) -> Iterator[WorkersService]:
    """`coterie serve` with so many workers, until the block ends."""
    environment = workers_environment(folder, fakes, encoder, workers)
    if database_url is not None:
        environment["COTERIE_DATABASE_URL"] = database_url
    log = folder / "log"
    process = start_workers(environment, log)
    service = WorkersService(process, "", folder / "composition", log)
    try:
        service.until("serving", lambda lines: bool(lines) or process.poll() is not None)
        assert process.poll() is None, log.read_text()[-3000:]
        service.url = service.lines("serving")[0]["url"]
        yield service
    finally:
        service.close()


def start_workers(environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """`coterie serve`, what it says in `log`."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve"],
            stdout=output,
            stderr=output,
            cwd=PROJECT,
            env=environment,
            start_new_session=True,  # without a terminal, so that SIGHUP reloads
        )


def workers_environment(
    folder: Path, fakes: Mapping[str, RunningFake], encoder: Encoder, workers: int = 2
) -> dict[str, str]:
    """What makes `coterie serve` the small world's service, all of it in `folder`."""
    endpoints = {name: fake.endpoint for name, fake in fakes.items()}
    composition = small_composition(folder / "composition", encoder)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("COTERIE_")},
        **{name: os.environ[name] for name in ("COTERIE_CACHE",) if name in os.environ},
        "COTERIE_WORKERS": str(workers),
        "COTERIE_PORT": "0",
        "COTERIE_EXPERTS": str(write_registry(folder / "experts.yaml", endpoints, capabilities=["tools"])),
        "COTERIE_COMPOSITION": str(composition),
        "COTERIE_DATA": str(folder / "var"),
        "COTERIE_API_KEYS": ",".join(f"{key}:secret-{key}" for key in KEYS),
        "COTERIE_ESCALATIONS": f"{QUOTA}/hour",
        "COTERIE_ESCALATION_BASELINE": "backup",
        "COTERIE_STORE_PROMPTS": "true",
        "COTERIE_STOP_GRACE_S": "120",  # no test that ends in time has waited for it
        "TMPDIR": str(folder),
    }
