"""The registry's `residency` section: the memory that experts share who do not all fit."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from base.strict_model import StrictModel

Absence = Literal["level1", "level2", "stopped"]
"""How a server is out of memory: vLLM's sleep levels (1: weights in host memory, 2: discarded), or not
running."""
PolicyName = Literal["lru", "lfu", "predictor"]

BATCH_S: Mapping[Absence, float] = {"level1": 2.0, "level2": 2.0, "stopped": 30.0}
"""Defaults of `batch_s`: about what a switch takes, since a switch sooner would cost more than the wait."""


class ResidencySettings(StrictModel):
    """`memory_gb`: for the experts with `memory_gb` together; `host_memory_gb`: for the weights of those in
    level 1, None without bound; `leaves`: how they leave memory; `batch_s`: how long requests wait before an
    expert in use must give way, None: BATCH_S; `max_waiting`: requests for each server; `wait_s`: of each of
    them; `prefetch`: how much likelier than all who give way for it an expert must be to be loaded in advance
    (0..1; above, never). `start_s`, `wake_s` and `sleep_s` bound a switch. `key_env`: the environment
    variable with the key of the servers' development endpoints."""

    memory_gb: float = Field(gt=0)
    host_memory_gb: float | None = Field(default=None, ge=0)
    leaves: Absence = "level1"
    policy: PolicyName = "predictor"
    batch_s: float | None = Field(default=None, ge=0)
    max_waiting: int = Field(default=64, ge=1)
    wait_s: float = Field(default=120.0, gt=0)
    prefetch: float = Field(default=0.1, ge=0)
    start_s: float = Field(default=900.0, gt=0)
    wake_s: float = Field(default=60.0, gt=0)
    sleep_s: float = Field(default=60.0, gt=0)
    key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
