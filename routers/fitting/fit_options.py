"""Inputs, options and errors of a fit."""

import os
from dataclasses import dataclass

from routers.request import Matrix

CORRECTORS = ("forest", "kernel")
"""Regressions of the per-request correction: `routers.forest`, `routers.kernel`."""


class FitError(Exception):
    """The data cannot be fitted; the message says what is missing."""


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
    out-of-distribution threshold. `correction`: use a correction that predicts better held out, fully (True),
    at half weight unless the full one decides significantly better (None), or never (False), from the
    regressions `correct_by`. `target_active_b`, `target_price`: take the smallest weight whose held-out
    decisions cost no more on average. `jobs`: cores, 0 for all. The rest as in `routers.policy.Policy`.
    """

    classifier: str = "auto"
    sure_accuracy: float | None = None
    novel_quantile: float = 0.99
    active_weight: float = 0.0
    price_weight: float = 0.0
    target_active_b: float | None = None
    target_price: float | None = None
    resident_budget_b: float | None = None
    correction: bool | None = None
    correct_by: tuple[str, ...] = CORRECTORS
    switch_cost: float = 0.02
    seed: int = 0
    jobs: int = 0

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.correct_by) - set(CORRECTORS)):
            raise FitError(f"nothing corrects by {', '.join(unknown)}: choose from {', '.join(CORRECTORS)}")
        if self.target_active_b is not None and self.target_price is not None:
            raise FitError("give a target for active parameters or for the price, not for both")
        if self.target_active_b is not None and self.active_weight:
            raise FitError("give an active weight or a target for active parameters, not both")
        if self.target_price is not None and self.price_weight:
            raise FitError("give a price weight or a target price, not both")

    @property
    def cores(self) -> int:
        return self.jobs or os.cpu_count() or 1
