"""Baseline strategies: one expert by the router, and majority voting."""

from collections.abc import Sequence

import numpy as np

from eval.strategies.answer_table import Ints
from eval.strategies.folds import Fold, FoldPart
from eval.strategies.panel_replay import ReplayPanel, Stage, trials_by_size
from eval.strategies.trials import StrategyOutcome, StrategyTrial, chosen_scores

WEIGHTS = 24


def choice_outcome(part: FoldPart, choice: Ints) -> StrategyOutcome:
    """One expert per prompt, by column."""
    rows = np.arange(len(part))
    asked = np.zeros(part.data.votes.shape, dtype=np.bool_)
    asked[rows, choice] = True
    return StrategyOutcome.of(part.data, part.data.scores[rows, choice], asked)


def single_trials(fold: Fold, *, budget_b: float | None = None) -> list[StrategyTrial]:
    """The router's choices over weights on active parameters."""
    sizes = fold.fit.data.sizes
    allowed = np.flatnonzero(sizes <= (np.inf if budget_b is None else budget_b))
    if not len(allowed):
        return []
    spread = np.ptp(fold.fit.expected, axis=1).mean() / max(float(np.ptp(sizes)), 1e-9)
    trials, seen = [], set()
    for weight in (0.0, *np.geomspace(spread / 100, spread * 10, WEIGHTS).tolist()):
        chosen = [
            allowed[(part.expected[:, allowed] - weight * sizes[allowed]).argmax(axis=1)]
            for part in (fold.fit, fold.held_out)
        ]
        if (key := chosen[0].tobytes()) not in seen:
            seen.add(key)
            trials.append(
                StrategyTrial(
                    {"active_weight": weight},
                    choice_outcome(fold.fit, chosen[0]),
                    choice_outcome(fold.held_out, chosen[1]),
                )
            )
    return trials


def majority_trials(fold: Fold, found: Sequence[ReplayPanel]) -> list[StrategyTrial]:
    """Unweighted votes of each panel after each number of experts; ties go to the earliest answer."""
    return trials_by_size(fold, found, _majority)


def _majority(part: FoldPart, stages: Sequence[Stage]) -> StrategyOutcome:
    last = stages[-1]
    votes = np.where(last.asked, part.data.votes, -1)
    options = part.data.option_scores.shape[1]
    counts = np.stack([(votes == option).sum(axis=1) for option in range(options)], axis=1).astype(np.float64)
    # Each stage at which an answer had been given adds less than a vote in total.
    for stage in stages:
        earlier = np.where(stage.asked, part.data.votes, -1)
        for option in range(options):
            counts[:, option] += (earlier == option).any(axis=1) / (len(stages) + 1)
    choice = np.where(counts.max(axis=1) > 0, counts.argmax(axis=1), -1)
    return StrategyOutcome.of(part.data, chosen_scores(part.data, choice, last.asked), last.asked)
