"""Cascades: experts in a fixed order until an answer is accepted, by agreement or by confidence."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from routers.cascade_model import CascadeModel, confidences
from routers.strategies.ask_order import passed
from routers.strategies.strategy_policy import Action, Booleans, Floats, Ints, State
from routers.strategies.vote_model import first_given

AGREE = 2


@dataclass(frozen=True, slots=True)
class AgreementCascade:
    """Experts by column, in order; an answer given `agree` times is accepted. Otherwise the last expert's
    answer counts, or the first one given."""

    kind: ClassVar[str] = "cascade"
    signals: ClassVar[bool] = False
    experts: tuple[int, ...]
    agree: int = AGREE

    def act(self, state: State) -> Action:
        rows = np.arange(len(state))
        plan = np.broadcast_to(np.asarray(self.experts, dtype=np.int64), (len(state), len(self.experts)))
        place = passed(plan, state)
        first = first_given(state.answers)
        accepted = np.full(len(state), -1, dtype=np.int64)
        for option in range(state.calls):
            agreed = (first == option).sum(axis=1) >= self.agree
            accepted = np.where(agreed & (accepted < 0), state.order[:, option], accepted)
        done = (accepted >= 0) | (place >= len(self.experts))
        following = plan[rows, np.minimum(place, len(self.experts) - 1)]
        answer = np.where(accepted >= 0, accepted, self._otherwise(state))
        unknown = np.full(len(state), np.nan)
        return Action(np.where(done, -1, following)[:, None], np.where(done, answer, -1), unknown, unknown)

    def _otherwise(self, state: State) -> Ints:
        """The last expert's reply, else the first with an answer, else the first at all."""
        found = np.full(len(state), -1, dtype=np.int64)
        if not state.calls:
            return found
        rows = np.arange(len(state))
        answered = state.answers >= 0
        for there in (state.replied, answered, answered & (state.order == self.experts[-1])):
            call = there.argmax(axis=1)
            found = np.where(there[rows, call], state.order[rows, call], found)
        return found


@dataclass(frozen=True, slots=True)
class ConfidenceCascade:
    """`weak` answers first; `strong` where the confidence of `model` in the weak answer is below its
    threshold. Experts by column."""

    kind: ClassVar[str] = "cascade"
    signals: ClassVar[bool] = True
    weak: int
    strong: int
    model: CascadeModel

    def act(self, state: State) -> Action:
        asked_weak = state.asked[:, self.weak] | ~state.available[:, self.weak]
        asked_strong = state.asked[:, self.strong] | ~state.available[:, self.strong]
        weak, sure = self._confidence(state)
        accepted = weak & (sure >= self.model.threshold)
        strong = _replied(state, self.strong)
        following = np.where(asked_weak, np.where(accepted | asked_strong, -1, self.strong), self.weak)
        last = np.where(strong, self.strong, np.where(weak, self.weak, -1))
        answer = np.where(accepted & ~strong, self.weak, last)
        done = following < 0
        return Action(
            following[:, None].astype(np.int64),
            np.where(done, answer, -1).astype(np.int64),
            np.where(strong, np.nan, sure),
            np.full(len(state), np.nan),
        )

    def _confidence(self, state: State) -> tuple[Booleans, Floats]:
        """Whether the weak expert replied, and the confidence in its answer (NaN where unknown)."""
        replied = _replied(state, self.weak)
        signals = {name: _of_expert(values, state, self.weak) for name, values in state.signals.items()}
        if not signals:
            return replied, np.full(len(state), np.nan)
        return replied, confidences(self.model, signals)


def _of_expert(values: Floats, state: State, expert: int) -> Floats:
    """The value (n,) of `values` (n, calls) where `expert` was asked, NaN elsewhere."""
    if not state.calls:
        return np.full(len(state), np.nan)
    there = state.order == expert
    found = values[np.arange(len(state)), there.argmax(axis=1)]
    return np.where(there.any(axis=1), found, np.nan)


def _replied(state: State, expert: int) -> Booleans:
    return np.asarray(((state.order == expert) & state.replied).any(axis=1), dtype=np.bool_)
