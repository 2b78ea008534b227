"""Inputs, options and errors of a fit."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from routers.mapping import SwitchPrice
from routers.policy import Policy
from routers.request import Matrix
from routers.request_costs import CostKind

KINDS: tuple[CostKind, ...] = ("active", "cost", "compute")
TARGETS = {"active": "target_active_b", "cost": "target_cost", "compute": "target_compute"}
WEIGHTS = {kind: f"{kind}_weight" for kind in KINDS}
"""Fields of the options, and of the policy, by what is paid."""


class FitError(Exception):
    """The data cannot be fitted; the message says what is missing."""


def with_weight(policy: Policy, kind: CostKind, weight: float) -> Policy:
    """`policy` with another weight on what is paid."""
    match kind:
        case "active":
            return replace(policy, active_weight=weight)
        case "cost":
            return replace(policy, cost_weight=weight)
        case "compute":
            return replace(policy, compute_weight=weight)


@dataclass(frozen=True, slots=True)
class Labelled:
    """Prompts with their categories and features (prompts, features)."""

    prompts: tuple[str, ...]
    categories: tuple[str, ...]
    features: Matrix


@dataclass(frozen=True, slots=True)
class FitOptions:
    """`classifier`: a key of CLASSIFIERS or "auto". `sure_accuracy`: held-out category accuracy that the
    threshold ensures; None chooses the threshold by held-out scores (0.9 without scores). `novel_quantile`:
    out-of-distribution threshold. `correction`: use a correction that predicts better held out (True), only
    where it also decides significantly better (None), or never (False). `target_active_b` (billions),
    `target_cost` ($ a request) and `target_compute` (B·tokens a request): take the smallest weight whose
    held-out decisions take no more on average. `loaded_b`: billions of parameters that are loaded at once,
    None for all; `wake_s`, `wake_weight` (utility a second) and `run` price a switch
    (`routers.mapping.SwitchPrice`); `wake_costs` is what the fit makes of them. `jobs`: cores, 0 for all. The
    rest as in `routers.policy.Policy`.
    """

    classifier: str = "auto"
    sure_accuracy: float | None = None
    novel_quantile: float = 0.99
    active_weight: float = 0.0
    cost_weight: float = 0.0
    compute_weight: float = 0.0
    target_active_b: float | None = None
    target_cost: float | None = None
    target_compute: float | None = None
    resident_budget_b: float | None = None
    loaded_b: float | None = None
    wake_s: float = 2.58
    wake_weight: float = 0.0
    run: float = 1.0
    wake_costs: Mapping[str, float] = field(default_factory=dict)
    correction: bool | None = None
    switch_cost: float = 0.02
    seed: int = 0
    jobs: int = 0

    def __post_init__(self) -> None:
        targets = [kind for kind in KINDS if getattr(self, TARGETS[kind]) is not None]
        if len(targets) > 1:
            named = " and ".join(f"--{TARGETS[kind].replace('_', '-')}" for kind in targets)
            raise FitError(f"give one target, not {named}: the fit finds one weight")
        for kind in targets:
            if getattr(self, WEIGHTS[kind]):
                raise FitError(f"give --{kind}-weight or --{TARGETS[kind].replace('_', '-')}, not both")

    @property
    def target(self) -> tuple[CostKind, float] | None:
        """What the decisions may take on average, and of what."""
        found = ((kind, getattr(self, TARGETS[kind])) for kind in KINDS)
        return next(((kind, limit) for kind, limit in found if limit is not None), None)

    @property
    def weighed(self) -> CostKind:
        """What a weight is on; active parameters without one."""
        return next((kind for kind in KINDS if getattr(self, WEIGHTS[kind])), "active")

    def weighted(self, policy: Policy) -> Policy:
        """`policy` with these weights."""
        return replace(
            policy,
            active_weight=self.active_weight,
            cost_weight=self.cost_weight,
            compute_weight=self.compute_weight,
            wake_costs=self.wake_costs,
        )

    @property
    def switching(self) -> SwitchPrice | None:
        """What is loaded at once, and what a switch costs; None when all are."""
        if self.loaded_b is None:
            return None
        return SwitchPrice(self.loaded_b, self.wake_s * self.wake_weight, self.run)

    @property
    def cores(self) -> int:
        return self.jobs or os.cpu_count() or 1
