"""What strategies are fitted on, and what trials of them are worth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from routers.strategies import Rollout, State, StrategyPolicy, rollout
from routers.strategies.ask_order import TOLERANCE, costs_of
from routers.strategies.strategy_policy import Booleans, Floats, Ints
from routers.strategies.vote_model import Ballots, log_odds
from routers.strategy_fitting.recorded_answers import RecordedAnswers

PRIOR = 1000.0
"""Pseudo-count of the overall mean in a category's mean."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Recorded answers with what the router knows of each prompt, predicted by folds that had not seen it.

    `state`: before the first call; `fold_of` (prompts,): the fold of each prompt; `costs`: what budgets are
    in, (experts,) or (categories, experts).
    """

    recorded: RecordedAnswers
    state: State
    fold_of: Ints
    costs: Floats

    def __len__(self) -> int:
        return len(self.recorded)

    @property
    def category(self) -> Ints:
        """The likeliest category, (prompts,)."""
        return np.asarray(self.state.posterior.argmax(axis=1), dtype=np.int64)

    @property
    def categories(self) -> int:
        return int(self.state.posterior.shape[1])

    @property
    def ballots(self) -> Ballots:
        return Ballots(self.recorded.answers, self.state.posterior, log_odds(self.state.expected))

    def run(self, policy: StrategyPolicy) -> "StrategyOutcome":
        return StrategyOutcome.of(self, rollout(policy, self.state, self.recorded))


@dataclass(frozen=True, slots=True)
class StrategyOutcome:
    """Columns over prompts: `score` 0..1; sums over the calls of `cost` (in the unit of budgets) and `active`
    parameters (billions); number of `calls`."""

    score: Floats
    cost: Floats
    active: Floats
    calls: Floats

    @classmethod
    def of(cls, data: TrainingData, run: Rollout) -> "StrategyOutcome":
        return cls.asked(data, data.recorded.scores_of(run.answer), run.asked)

    @classmethod
    def asked(cls, data: TrainingData, score: Floats, asked: Booleans) -> "StrategyOutcome":
        """From `score` (prompts,) and the experts that ran (prompts, experts)."""
        ran = asked.astype(np.float64)
        cost = (ran * costs_of(data.costs, data.state)).sum(axis=1)
        return cls(score, cost, ran @ data.recorded.sizes, ran.sum(axis=1))

    def columns(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.score, self.cost, self.active, self.calls

    @classmethod
    def joined(cls, parts: Sequence["StrategyOutcome"]) -> "StrategyOutcome":
        columns = zip(*(part.columns() for part in parts), strict=True)
        return cls(*(np.concatenate(each) for each in columns))


@dataclass(frozen=True, slots=True)
class StrategyTrial:
    """A policy with its settings, fitted on all prompts, and its `outcome` on each prompt where everything
    that was fitted comes from the other folds."""

    name: str
    policy: StrategyPolicy
    outcome: StrategyOutcome


def best_within(trials: Sequence[StrategyTrial], budget: float) -> StrategyTrial | None:
    """The trial of the best score within the average budget; ties go to the cheaper one. None if all exceed
    it."""
    able = [each for each in trials if each.outcome.cost.mean() <= budget * TOLERANCE]
    return max(able, key=lambda each: (each.outcome.score.mean(), -each.outcome.cost.mean()), default=None)


def means_by_category(values: Floats, category: Ints, categories: int) -> Floats:
    """Means of `values` (prompts,) by category, (categories,), shrunk to the overall mean."""
    size = np.bincount(category, minlength=categories)
    mean = np.bincount(category, weights=values, minlength=categories) / np.maximum(size, 1)
    share = size / (size + PRIOR)
    return np.asarray(share * mean + (1 - share) * values.mean(), dtype=np.float64)
