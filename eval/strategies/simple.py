"""What the elaborate strategies have to beat: one expert by the router, and a plain majority."""

from collections.abc import Sequence

import numpy as np

from eval.strategies.answer_table import Ints
from eval.strategies.folds import Fold, Part
from eval.strategies.panel_replay import Panel, Stage
from eval.strategies.trials import Outcome, Trial, chosen_scores

WEIGHTS = 24


def choice_outcome(part: Part, choice: Ints) -> Outcome:
    """One expert a prompt, by column."""
    rows = np.arange(len(part))
    asked = np.zeros(part.data.votes.shape, dtype=np.bool_)
    asked[rows, choice] = True
    return Outcome.of(part.data, part.data.scores[rows, choice], asked)


def single_trials(fold: Fold, *, budget_b: float | None = None) -> list[Trial]:
    """The router's choice by its expected scores alone, over weights on active parameters."""
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
                Trial(
                    {"active_weight": weight},
                    choice_outcome(fold.fit, chosen[0]),
                    choice_outcome(fold.held_out, chosen[1]),
                )
            )
    return trials


def majority_trials(fold: Fold, found: Sequence[Panel]) -> list[Trial]:
    """Each panel after each number of experts, every vote counting one; of equals the earliest wins."""
    trials = []
    for panel in found:
        for size, (fitted, held_out) in enumerate(zip(panel.fitted, panel.held_out, strict=True), start=1):
            trials.append(
                Trial(
                    {"first": panel.name, "then": list(panel.order), "experts": size},
                    _majority(fold.fit, panel.fitted[:size], fitted),
                    _majority(fold.held_out, panel.held_out[:size], held_out),
                )
            )
    return trials


def _majority(part: Part, stages: Sequence[Stage], last: Stage) -> Outcome:
    votes = np.where(last.asked, part.data.votes, -1)
    options = part.data.option_scores.shape[1]
    counts = np.stack([(votes == option).sum(axis=1) for option in range(options)], axis=1).astype(np.float64)
    # Less than a vote for being given earlier: each stage at which an answer was there adds a little.
    for stage in stages:
        earlier = np.where(stage.asked, part.data.votes, -1)
        for option in range(options):
            counts[:, option] += (earlier == option).any(axis=1) / (len(stages) + 1)
    choice = np.where(counts.max(axis=1) > 0, counts.argmax(axis=1), -1)
    return Outcome.of(part.data, chosen_scores(part.data, choice, last.asked), last.asked)
