"""Strategies that show one expert's reply without comparing answers: routing itself, and self-selection."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from routers.strategies.ask_order import TOLERANCE, costs_of
from routers.strategies.strategy_policy import Action, Floats, Ints, State

UNSURE = -1e6
"""Stands for an unknown mean log-probability: less sure than any known one."""


@dataclass(frozen=True, slots=True)
class SinglePolicy:
    """The expert of the highest expected score minus `weight` · cost, and the next best where it fails.
    `costs` (experts,) or (categories, experts); `limit` on the cost of a request."""

    kind: ClassVar[str] = "single"
    signals: ClassVar[bool] = False
    costs: Floats
    weight: float = 0.0
    limit: float | None = None

    def act(self, state: State) -> Action:
        rows = np.arange(len(state))
        costs = costs_of(self.costs, state)
        values = state.expected - self.weight * costs
        may = state.available & ~state.asked
        if self.limit is not None:
            may &= costs <= self.limit * TOLERANCE
        best = np.where(may, values, -np.inf).argmax(axis=1)
        replied = state.replied.any(axis=1)
        done = replied | ~may[rows, best]
        last = state.order[rows, state.replied.argmax(axis=1)] if state.calls else np.full(len(state), -1)
        unknown = np.full(len(state), np.nan)
        return Action(
            np.where(done, -1, best)[:, None].astype(np.int64),
            np.where(replied, last, -1).astype(np.int64),
            unknown,
            unknown,
        )


@dataclass(frozen=True, slots=True)
class SelfSelect:
    """`candidates` (columns; None: the `count` of highest expected score) begin side by side, and the surest
    of itself answers: mean log-probability plus its `bias` by column."""

    kind: ClassVar[str] = "self_select"
    signals: ClassVar[bool] = True
    count: int = 3
    candidates: tuple[int, ...] | None = None
    bias: Mapping[int, float] | None = None

    def act(self, state: State) -> Action:
        rows, unknown = np.arange(len(state)), np.full(len(state), np.nan)
        if state.calls == 0:
            plan = self._plan(state)
            ask = np.where(state.available[rows[:, None], plan], plan, -1).astype(np.int64)
            return Action(ask, np.full(len(state), -1), unknown, unknown)
        mean = state.signals.get("mean", np.full(state.order.shape, np.nan))
        bias = np.zeros(state.expected.shape[1])
        for expert, value in (self.bias or {}).items():
            bias[expert] = value
        sure = np.where(np.isnan(mean), UNSURE, mean) + bias[np.maximum(state.order, 0)]
        best = np.where(state.replied, sure, -np.inf).argmax(axis=1)
        answer = np.where(state.replied[rows, best], state.order[rows, best], -1).astype(np.int64)
        return Action(np.full((len(state), 1), -1), answer, np.exp(mean[rows, best]), unknown)

    def _plan(self, state: State) -> Ints:
        if self.candidates is not None:
            return np.tile(np.asarray(self.candidates, dtype=np.int64), (len(state), 1))
        values = np.where(state.available, state.expected, -np.inf)
        return np.argsort(-values, axis=1, kind="stable")[:, : self.count]
