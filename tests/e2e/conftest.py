"""The tiny profile on real vLLM, started once for all end-to-end tests."""

import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from experts.local.model_folders import default_python, is_ready
from experts.local.supervisor import Supervisor
from experts.local.vllm import prepare_servers
from experts.registry import Registry, load_registry

ROOT = Path(__file__).parents[2]
MODEL = "smollm2-135m-instruct"


@dataclass(frozen=True, slots=True)
class RunningExperts:
    """Experts whose servers run until the session ends."""

    registry: Registry
    registry_file: Path
    supervisor: Supervisor
    server: str
    """Name of the one server, as the supervisor knows it."""

    def processes(self) -> set[int]:
        """Every process of the server now: reaper, API server, engine, workers."""
        reaper = self.supervisor.statuses[self.server].pid
        return descendants(reaper) if reaper is not None else set()


def descendants(pid: int) -> set[int]:
    """The process and all below it, from /proc."""
    found = {pid}
    below = Path(f"/proc/{pid}/task/{pid}/children")
    if below.exists():
        for child in below.read_text().split():
            found |= descendants(int(child))
    return found


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="session")
def tiny_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """experts/tiny.yaml with its servers on free ports, so that a running service is not in the way."""
    content = yaml.safe_load((ROOT / "experts" / "tiny.yaml").read_text(encoding="utf-8"))
    for expert in content["experts"]:
        if "local" in expert:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                expert["local"]["port"] = listener.getsockname()[1]
    file = tmp_path_factory.mktemp("experts") / "tiny.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_experts(
    tiny_registry: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningExperts]:
    """The tiny profile's experts, live on real vLLM. Their stop leaves no process, or the session fails."""
    if not default_python().is_file():
        pytest.skip(f"no vLLM environment at {default_python()}; `make setup` makes it")
    if not is_ready(MODEL):
        pytest.skip(f"model {MODEL} is not there; `make test` fetches it")
    registry = load_registry(tiny_registry)
    servers = prepare_servers(registry)
    logs = Path(os.environ.get("COTERIE_DATA") or tmp_path_factory.mktemp("data")) / "logs" / "e2e"
    supervisor = Supervisor(servers, logs=logs)
    async with supervisor:
        running = RunningExperts(registry, tiny_registry, supervisor, servers[0].name)
        yield running
        processes = running.processes()
    left = {pid for pid in processes if alive(pid)}
    assert processes and not left, f"the stopped supervisor left {left} of {processes}"
