"""Cascades by agreement: experts are asked in order until an answer has been given `agree` times; otherwise
the last expert's answer counts, or the first one given. All cascades of the best experts are evaluated on the
training part, by category.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from eval.strategies.answer_table import Answered, Floats, Ints
from eval.strategies.folds import Fold
from eval.strategies.mixed import means_by_category, weights
from eval.strategies.trials import StrategyOutcome, StrategyTrial, chosen_scores
from routers.strategies.strategy_policy import Booleans

POOL = 7
"""Maximum number of experts of which all orders are tried."""
STEPS = 4
AGREE = 2


@dataclass(frozen=True, slots=True)
class VotingCascade:
    """Experts by column, in order; an answer given `agree` times is accepted."""

    experts: tuple[int, ...]
    agree: int = AGREE

    def run(self, votes: Ints) -> tuple[Ints, Booleans]:
        """The chosen answer of each prompt (-1 for none) and the asked experts, (prompts, experts)."""
        prompts = len(votes)
        asked = np.zeros(votes.shape, dtype=np.bool_)
        choice = np.full(prompts, -1, dtype=np.int64)
        open_ = np.ones(prompts, dtype=np.bool_)
        for step, expert in enumerate(self.experts):
            asked[open_, expert] = True
            vote = votes[:, expert]
            support = np.ones(prompts, dtype=np.int64)
            for earlier in self.experts[:step]:
                support += votes[:, earlier] == vote
            accepted = open_ & (vote >= 0) & (support >= self.agree)
            choice[accepted] = vote[accepted]
            open_ &= ~accepted
        last_first = (self.experts[-1], *self.experts[:-1])
        for expert in reversed(last_first):
            vote = votes[:, expert]
            choice = np.where(open_ & (vote >= 0), vote, choice)
        return choice, asked


def cascade_trials(fold: Fold, *, budget_b: float | None = None) -> list[StrategyTrial]:
    """For each weight on parameters, the best cascade per category on the training part; `budget_b` limits
    every prompt."""
    fit, held_out = fold.fit.data, fold.held_out.data
    cascades = [
        each
        for each in candidates(fit)
        if budget_b is None or fit.sizes[list(each.experts)].sum() <= budget_b * (1 + 1e-9)
    ]
    if not cascades:
        return []
    scores, costs = _means(fit, cascades, fold.fit.category, len(fold.categories))
    trials = {}
    for weight in weights(scores, costs):
        best = tuple((scores - weight * costs).argmax(axis=0).tolist())
        if best not in trials:
            chosen = [cascades[each] for each in best]
            trials[best] = StrategyTrial(
                {"agree": AGREE},
                _by_category(fit, chosen, fold.fit.category),
                _by_category(held_out, chosen, fold.held_out.category),
                tuple({"experts": [fit.table.expert_names[e] for e in each.experts]} for each in chosen),
            )
    return list(trials.values())


def candidates(fit: Answered) -> Iterator[VotingCascade]:
    """All cascades of the best experts, by score and by score per parameter."""
    means = fit.scores.mean(axis=0)
    ranked = [
        np.argsort(-means, kind="stable"),
        np.argsort(-means / np.maximum(fit.sizes, 1e-9), kind="stable"),
    ]
    pool = list(dict.fromkeys(int(each) for pair in zip(*ranked, strict=True) for each in pair))[:POOL]
    for expert in pool:
        yield VotingCascade((expert,), agree=1)
    for steps in range(3, STEPS + 1):
        for experts in permutations(pool, steps):
            # The order of the first two does not matter.
            if experts[0] < experts[1]:
                yield VotingCascade(experts)


def _means(
    fit: Answered, cascades: Sequence[VotingCascade], category: Ints, categories: int
) -> tuple[Floats, Floats]:
    """Mean score and parameters of each cascade by category, (cascades, categories)."""
    scores, costs = [], []
    for cascade in cascades:
        choice, asked = cascade.run(fit.votes)
        outcome = StrategyOutcome.of(fit, chosen_scores(fit, choice, asked), asked)
        scores.append(means_by_category(outcome.score, category, categories))
        costs.append(means_by_category(outcome.active, category, categories))
    return np.stack(scores), np.stack(costs)


def _by_category(data: Answered, of_category: Sequence[VotingCascade], category: Ints) -> StrategyOutcome:
    choice = np.full(len(data), -1, dtype=np.int64)
    asked = np.zeros(data.votes.shape, dtype=np.bool_)
    for cascade in set(of_category):
        rows = np.isin(category, [number for number, each in enumerate(of_category) if each == cascade])
        choice[rows], asked[rows] = cascade.run(data.votes[rows])
    return StrategyOutcome.of(data, chosen_scores(data, choice, asked), asked)
