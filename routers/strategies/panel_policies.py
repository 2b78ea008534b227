"""Panels: experts are asked in a fitted order, and a weighted vote (`routers.strategies.vote_model`, fitted
for each size) gives the answer with its probability. Stopping rules:

- `vote`: a fixed number of experts, side by side
- `panel`: the probability that the leading answer, or any given one, is right reaches p
- `stopping`: the expected gain of asking on is below its cost
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from routers.strategies.ask_order import AskOrder, best_replied, lengths, passed
from routers.strategies.strategy_policy import Action, Booleans, Floats, Ints, State
from routers.strategies.vote_model import Ballots, VoteModel, first_given

Event = Literal["leading", "any"]
DIGITS = 9
"""Decimals of probabilities: what is equal but for rounding is equal in any batch."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The vote after some calls: column of the expert whose reply leads (`answer`, -1 where nobody replied),
    and the probabilities that the `leading` answer, the `second` one and `none` is right."""

    answer: Ints
    leading: Floats
    second: Floats
    none: Floats

    def features(self, posterior: Floats) -> Floats:
        """What the gain of asking on is regressed on, (n, 7 + categories)."""
        first, second = self.leading, self.second
        columns = [np.ones(len(first)), first, second, self.none, first**2, first * second, second**2]
        return np.column_stack([*columns, posterior])


@dataclass(frozen=True, slots=True)
class VotingPanel:
    """An order of experts with the vote after each of its places."""

    order: AskOrder
    models: tuple[VoteModel, ...]

    def stage(self, state: State, place: Ints) -> Stage:
        """The vote over the answers of `state`, with the model of `place` (n,), 1 or more."""
        ballots, options = Ballots.cast(state), state.calls
        chances = np.zeros((len(state), options + 1))
        for each in np.unique(place):
            rows = np.flatnonzero(place == each)
            model = self.models[min(max(int(each), 1), len(self.models)) - 1]
            chances[rows] = model.probabilities(ballots.take(rows), options)
        return _stage(state, chances)


def _stage(state: State, chances: Floats) -> Stage:
    given = chances[:, :-1].round(DIGITS)
    rows = np.arange(len(state))
    if not given.shape[1]:
        nothing = np.zeros(len(state))
        return Stage(best_replied(state), nothing, nothing, chances[:, -1].round(DIGITS))
    top = given.argmax(axis=1)
    leading = given[rows, top]
    answer = np.where(leading > 0, state.order[rows, top], best_replied(state))
    second = np.partition(given, -2, axis=1)[:, -2] if given.shape[1] > 1 else np.zeros(len(given))
    return Stage(answer.astype(np.int64), leading, second, chances[:, -1].round(DIGITS))


@dataclass(frozen=True, slots=True)
class VotePolicy:
    """The first `size` experts of `order` side by side; without a `model` (not fitted) each has one vote, and
    ties go to the answer that comes first in the order."""

    kind: ClassVar[str] = "vote"
    signals: ClassVar[bool] = False
    order: AskOrder
    size: int
    model: VoteModel | None = None

    def act(self, state: State) -> Action:
        plan = self.order.plan(state)[:, : self.size]
        rows = np.arange(len(state))[:, None]
        open_ = (plan >= 0) & ~state.asked[rows, plan] & state.available[rows, plan]
        ask = np.where(open_, plan, -1)
        if self.model is not None:
            stage = _stage(state, self.model.probabilities(Ballots.cast(state), state.calls))
            answer, probability = stage.answer, stage.leading
        else:
            answer, probability = _majority(state), np.full(len(state), np.nan)
        waiting = open_.any(axis=1)
        return Action(ask, np.where(waiting, -1, answer), probability, np.full(len(state), np.nan))


@dataclass(frozen=True, slots=True)
class PanelPolicy:
    """Experts one by one until the leading answer (`event` "leading"), or any of the given ones ("any"), is
    right with probability `p`."""

    kind: ClassVar[str] = "panel"
    signals: ClassVar[bool] = False
    panel: VotingPanel
    p: float
    event: Event = "leading"

    def act(self, state: State) -> Action:
        place, stage, plan = _look(self.panel, state)
        reached = stage.leading if self.event == "leading" else 1 - stage.none
        return _one_by_one(state, plan, place, stage, reached >= self.p, np.full(len(state), np.nan))


@dataclass(frozen=True, slots=True)
class StoppingPolicy:
    """Experts one by one while the expected gain of asking on, a regression for each place (`rules`, (steps -
    1, features)), is above 0; `price`: score given up per unit of cost, which the rules were learnt for."""

    kind: ClassVar[str] = "stopping"
    signals: ClassVar[bool] = False
    panel: VotingPanel
    rules: Floats
    price: float

    def act(self, state: State) -> Action:
        place, stage, plan = _look(self.panel, state)
        gain = np.full(len(state), np.nan)
        if len(self.rules):
            features = stage.features(state.posterior)
            rule = self.rules[np.clip(place, 1, len(self.rules)) - 1]
            gain = np.where(place > 0, (features * rule).sum(axis=1).round(DIGITS), np.nan)
        return _one_by_one(state, plan, place, stage, gain <= 0, gain)


def _look(panel: VotingPanel, state: State) -> tuple[Ints, Stage, Ints]:
    plan = panel.order.plan(state)
    place = passed(plan, state)
    return place, panel.stage(state, place), plan


def _one_by_one(state: State, plan: Ints, place: Ints, stage: Stage, stop: Booleans, gain: Floats) -> Action:
    """Stop where `stop` says so and somebody replied, or at the end of the plan."""
    replied = state.replied.any(axis=1)
    done = (place >= lengths(plan)) | (replied & stop)
    following = plan[np.arange(len(state)), np.minimum(place, plan.shape[1] - 1)]
    ask = np.where(done, -1, following)[:, None]
    return Action(ask, np.where(done, stage.answer, -1), stage.leading, gain)


def _majority(state: State) -> Ints:
    if not state.calls:
        return best_replied(state)
    first = first_given(state.answers)
    counts = np.stack([(first == each).sum(axis=1) for each in range(state.calls)], axis=1)
    rows, top = np.arange(len(state)), counts.argmax(axis=1)
    return np.where(counts[rows, top] > 0, state.order[rows, top], best_replied(state)).astype(np.int64)
