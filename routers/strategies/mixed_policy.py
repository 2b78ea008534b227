"""A policy of its own for each category."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from routers.strategies.strategy_policy import Action, State, StrategyPolicy


@dataclass(frozen=True, slots=True)
class MixedPolicy:
    """The policy of each request's likeliest category, in the order of categories."""

    kind: ClassVar[str] = "mixed"
    by_category: tuple[StrategyPolicy, ...]

    @property
    def signals(self) -> bool:
        return any(each.signals for each in self.by_category)

    def act(self, state: State) -> Action:
        category = state.posterior.argmax(axis=1)
        acted = []
        for each in np.unique(category).tolist():
            rows = np.flatnonzero(category == each)
            acted.append((rows, self.by_category[each].act(state.take(rows))))
        width = max((action.ask.shape[1] for _, action in acted), default=1)
        ask = np.full((len(state), width), -1, dtype=np.int64)
        answer = np.full(len(state), -1, dtype=np.int64)
        probability, gain = np.full(len(state), np.nan), np.full(len(state), np.nan)
        for rows, action in acted:
            ask[rows, : action.ask.shape[1]] = action.ask
            answer[rows], probability[rows], gain[rows] = action.answer, action.probability, action.gain
        return Action(ask, answer, probability, gain)
