"""The processes that faults happen to: fake experts, a service over them, in a folder of their own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.server_processes import PROJECT, answers, free_port, start

PROFILE = "cpu"
"""The shipped composition whose experts the fakes stand for."""
MODEL = "fake"
"""All fakes serve it, so that any of them can be a replica of any expert."""
TIMEOUTS = {"connect_s": 0.5, "first_byte_s": 0.7, "idle_s": 0.7, "total_s": 15}
"""Of every expert. What a silent server costs is what these allow, once."""
QUEUE = 16
"""COTERIE_RECORD_QUEUE, of the cases that kill the service."""


@dataclass(slots=True)
class Fake:
    """A fake expert in a process of its own."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def at(self, host: str) -> str:
        """Its endpoint by another name of this machine."""
        return f"http://{host}:{self.port}/v1"

    def signal(self, how: signal.Signals) -> float:
        """Send it a signal; the moment, on the clock of `time.perf_counter`."""
        at = time.perf_counter()
        self.process.send_signal(how)
        if how == signal.SIGKILL:
            self.process.wait()
        return at


@dataclass(slots=True)
class Service:
    """A running `coterie serve`. What it logs are JSON lines in `log`."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def pids(self) -> list[int]:
        """Of its workers, of their latest starts, and of itself last."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        workers = {line["worker"]: line["pid"] for line in lines if line.get("event") == "worker_started"}
        return [*workers.values(), self.process.pid]


@dataclass(slots=True)
class Processes:
    """Starts processes in `folder`, until `stack` closes."""

    folder: Path
    stack: contextlib.ExitStack
    _started: int = field(default=0)

    def fake(self, name: str, *options: str, port: int = 0) -> Fake:
        """A fake expert that calls itself `name`. Wait with `ready` before it is asked."""
        port = port or free_port()
        words = ["experts.fake", "--name", name, "--model", MODEL, "--port", str(port), *options]
        log = self.stack.enter_context((self.folder / f"{name}.log").open("a"))
        return Fake(name, port, start(self.stack, words, self._environment(), log))

    def ready(self, *fakes: Fake) -> None:
        for fake in fakes:
            if not answers(fake.process, fake.port, "/v1/models"):
                raise SystemExit(f"the fake expert {fake.name} did not start")

    def service(
        self,
        experts: Mapping[str, Sequence[str]],
        others: str,
        settings: Mapping[str, str],
        *,
        port: int = 0,
        before: Sequence[str] = (),
    ) -> Service:
        """`coterie serve`: `experts` of the composition at their endpoints, `others` for the rest of them.
        `before`: words of a command that runs it. Raises SystemExit when it does not start."""
        self._started += 1
        port = port or free_port()
        registry, path = self.folder / f"experts-{self._started}.yaml", self.folder / f"{self._started}.log"
        registry.write_text(yaml.safe_dump({"experts": _entries(experts, others)}))
        environment = {
            **self._environment(),
            "COTERIE_PROFILE": PROFILE,
            "COTERIE_EXPERTS": str(registry),
            "COTERIE_PORT": str(port),
            **settings,
        }
        log = self.stack.enter_context(path.open("w"))
        process = start(self.stack, ["app.cli", "serve"], environment, log, before=before)
        if not answers(process, port, "/healthz"):
            raise SystemExit(f"the service did not start:\n{path.read_text()[-2000:]}")
        return Service(f"http://127.0.0.1:{port}", process, path)

    def coterie(self, *words: str, **settings: str) -> None:
        """Run a command of the product. Raises SystemExit when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", *words],
            env={**self._environment(), **settings},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"coterie {' '.join(words)} failed:\n{done.stderr}")

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("COTERIE_") or name == "COTERIE_CACHE"
        }
        paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {**kept, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(self.folder)}


@dataclass(frozen=True, slots=True)
class Composed:
    """An expert of the composition; `params_b` in billions."""

    name: str
    params_b: float
    context_length: int


def composed() -> list[Composed]:
    """The experts of the composition."""
    path = PROJECT / "routers" / "compositions" / PROFILE / "composition.json"
    cards = json.loads(path.read_text())["experts"]
    return [Composed(card["name"], card["params_b"], card["context_length"]) for card in cards]


def _entries(experts: Mapping[str, Sequence[str]], others: str) -> list[dict[str, Any]]:
    entries = []
    for expert in composed():
        endpoint, *replicas = experts.get(expert.name, [others])
        entry = {
            **asdict(expert),
            "endpoint": endpoint,
            "model": MODEL,
            "max_in_flight": 64,
            "timeouts": TIMEOUTS,
        }
        entries.append(entry | ({"replicas": replicas} if replicas else {}))
    return entries
