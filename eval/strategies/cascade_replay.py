"""Cascades: cheap experts answer first, and a stronger one only where they disagree.

A cascade is a list of experts. They are asked one after the other until some answer has been given
`agree` times, which is then accepted; if none ever is, the last expert's answer stands, or, if it gave
none, the first answer given. All cascades of good experts are tried on the fitting part, overall and by
category, since what is cheap and reliable in one is neither in another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from eval.strategies.answer_table import Answered, Floats, Ints
from eval.strategies.folds import Fold
from eval.strategies.mixed import means_by_category, weights
from eval.strategies.trials import Outcome, Trial, chosen_scores
from eval.strategies.voting import Booleans

POOL = 7
"""Experts that cascades are made of, at most: of so many all orders can be tried."""
STEPS = 4
AGREE = 2


@dataclass(frozen=True, slots=True)
class Cascade:
    """Experts by column, in the order of asking; accepted are answers given `agree` times."""

    experts: tuple[int, ...]
    agree: int = AGREE

    def run(self, votes: Ints) -> tuple[Ints, Booleans]:
        """The answer chosen of each prompt (-1 for none), and who was asked, (prompts, experts)."""
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


def cascade_trials(fold: Fold, *, budget_b: float | None = None) -> list[Trial]:
    """Cascades that nothing beats on the fitting part at some weight on parameters, by category.

    With `budget_b` no prompt may take more.
    """
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
            trials[best] = Trial(
                {"agree": AGREE},
                _by_category(fit, chosen, fold.fit.category),
                _by_category(held_out, chosen, fold.held_out.category),
                tuple({"experts": [fit.table.expert_names[e] for e in each.experts]} for each in chosen),
            )
    return list(trials.values())


def candidates(fit: Answered) -> Iterator[Cascade]:
    """All cascades of the best experts, by score alone and by score a billion."""
    means = fit.scores.mean(axis=0)
    ranked = [
        np.argsort(-means, kind="stable"),
        np.argsort(-means / np.maximum(fit.sizes, 1e-9), kind="stable"),
    ]
    pool = list(dict.fromkeys(int(each) for pair in zip(*ranked, strict=True) for each in pair))[:POOL]
    for expert in pool:
        yield Cascade((expert,), agree=1)
    for steps in range(3, STEPS + 1):
        for experts in permutations(pool, steps):
            # Two must be asked in any case: in which order does not matter.
            if experts[0] < experts[1]:
                yield Cascade(experts)


def _means(
    fit: Answered, cascades: Sequence[Cascade], category: Ints, categories: int
) -> tuple[Floats, Floats]:
    """Mean score and parameters of each cascade by category, (cascades, categories)."""
    scores, costs = [], []
    for cascade in cascades:
        choice, asked = cascade.run(fit.votes)
        outcome = Outcome.of(fit, chosen_scores(fit, choice, asked), asked)
        scores.append(means_by_category(outcome.score, category, categories))
        costs.append(means_by_category(outcome.active, category, categories))
    return np.stack(scores), np.stack(costs)


def _by_category(data: Answered, of_category: Sequence[Cascade], category: Ints) -> Outcome:
    choice = np.full(len(data), -1, dtype=np.int64)
    asked = np.zeros(data.votes.shape, dtype=np.bool_)
    for cascade in set(of_category):
        rows = np.isin(category, [number for number, each in enumerate(of_category) if each == cascade])
        choice[rows], asked[rows] = cascade.run(data.votes[rows])
    return Outcome.of(data, chosen_scores(data, choice, asked), asked)
