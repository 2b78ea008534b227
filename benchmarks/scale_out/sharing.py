"""Experts that share fewer GPUs than they would need to be loaded at once, by the service's own residency.

Small rates only: what a request waits for here is its expert's being loaded, not its turn in a batch.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.scale_out.costs import Served
from benchmarks.scale_out.traffic import Shape, shares
from experts.residency.residency import ResidencyLimits, ResidentServer
from experts.residency.simulation import Arrival, Simulated, SwitchTimes, policy_named, simulate
from experts.residency_settings import BATCH_S, Absence


def shared(
    models: Sequence[Served],
    gpus: int,
    rate: float,
    requests: int,
    leaves: Absence,
    shape: Shape,
    seed: int = 0,
) -> Simulated:
    """Replays `requests` Poisson requests, `rate` a second, over experts that share the memory of `gpus`.
    An expert takes whole GPUs. Raises ValueError when the largest does not fit."""
    random = np.random.default_rng(seed)
    at = np.cumsum(random.exponential(1 / rate, requests))
    asked = random.choice(len(models), requests, p=shares(len(models), shape.skew))
    answer = np.maximum(8, random.exponential(shape.answer, requests))
    stream = [
        Arrival(float(when), str(rank), float(tokens * models[rank].step_s(1, 1_000)))
        for when, rank, tokens in zip(at, asked.tolist(), answer, strict=True)
    ]
    servers = [
        ResidentServer(str(rank), model.gpus * model.accelerator.memory_gb, model.weights_gb)
        for rank, model in enumerate(models)
    ]
    limits = ResidencyLimits(gpus * models[0].accelerator.memory_gb, leaves=leaves, batch_s=BATCH_S[leaves])
    policy = policy_named("predictor", [server.name for server in servers], stream)
    return simulate(stream, servers, limits, SwitchTimes(), policy)
