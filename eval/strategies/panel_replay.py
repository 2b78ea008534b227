"""Panels: experts are asked in a greedily fitted order, and a weighted vote (`routers.strategies.vote_model`,
fitted for each size) gives the answer with its probability. Stopping rules:

- `vote`: a fixed number of experts
- `panel`: the probability that the leading answer, or any given one, is right reaches p
- `stopping`: the expected gain of asking on is below its cost, by regression from the last expert backwards
  (least-squares Monte Carlo, Longstaff & Schwartz 2001)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.strategies.answer_table import Floats, Ints
from eval.strategies.folds import Fold, FoldPart
from eval.strategies.trials import StrategyOutcome, StrategyTrial, chosen_scores
from routers.strategies.strategy_policy import Booleans
from routers.strategies.vote_model import VoteModel, fit_votes

MOST = 7
"""Maximum number of experts on a panel."""
GAIN_WEIGHTS = (0.3, 0.6, 1.0)
SIZE_WEIGHT = 0.0007
"""Accuracy per billion parameters in the greedy order, to prefer the smaller of equal experts."""
LEVELS = np.round(np.concatenate([np.arange(0.2, 0.9, 0.05), [0.92, 0.95, 0.98, 1.0]]), 2)
PRICES = np.concatenate([[0.0], np.geomspace(2e-4, 3e-2, 16)])
"""Accuracy per billion parameters, for `stopping`."""
RIDGE = 1.0

Order = Ints
"""Experts by column in the order of asking, (prompts, steps); -1 after the last."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The state after a step: experts `asked`, the leading answer `choice` (-1 for none) and its `score`, and
    the probabilities of the `leading` and `second` answer and of `none`."""

    asked: Booleans
    choice: Ints
    score: Floats
    leading: Floats
    second: Floats
    none: Floats


StopRule = Callable[[FoldPart, Stage], Booleans]
"""The prompts for which to stop after a stage."""


@dataclass(frozen=True, slots=True)
class ReplayPanel:
    """An order of experts with its stages on both parts; `name` describes the first expert."""

    name: str
    order: tuple[str, ...]
    fitted: tuple[Stage, ...]
    held_out: tuple[Stage, ...]


def panels(fold: Fold, *, budget_b: float | None = None, most: int = MOST) -> list[ReplayPanel]:
    """Panels that begin with each efficient expert and with the routed expert; `budget_b` limits every
    prompt."""
    fit, held_out = fold.fit, fold.held_out
    sizes = fit.data.sizes
    most = min(most, len(sizes))
    found = []
    for name, first, first_held_out in _starts(fold):
        if (
            budget_b is not None
            and sizes[np.unique(np.concatenate([first, first_held_out]))].max() > budget_b
        ):
            continue
        joining = greedy_order(fit, first, most)
        orders = [_rows(part_first, joining, sizes, budget_b, most) for part_first in (first, first_held_out)]
        stages, further = [], []
        for step in range(1, orders[0].shape[1] + 1):
            masks = [_asked(order[:, :step], len(sizes)) for order in orders]
            model = fit_votes(fit.ballots.of(masks[0]), fit.data.option_scores)
            stages.append(_stage(fit, model, masks[0]))
            further.append(_stage(held_out, model, masks[1]))
        names = tuple(fit.data.table.expert_names[each] for each in joining)
        found.append(ReplayPanel(name, names, tuple(stages), tuple(further)))
    return found


def vote_trials(fold: Fold, found: Sequence[ReplayPanel]) -> list[StrategyTrial]:
    """Every panel stopped after every number of experts."""
    return trials_by_size(
        fold, found, lambda part, stages: StrategyOutcome.of(part.data, stages[-1].score, stages[-1].asked)
    )


def trials_by_size(
    fold: Fold,
    found: Sequence[ReplayPanel],
    outcome: Callable[[FoldPart, Sequence[Stage]], StrategyOutcome],
) -> list[StrategyTrial]:
    """The `outcome` of every panel after every number of experts."""
    return [
        StrategyTrial(
            {"first": panel.name, "then": list(panel.order), "experts": size},
            outcome(fold.fit, panel.fitted[:size]),
            outcome(fold.held_out, panel.held_out[:size]),
        )
        for panel in found
        for size in range(1, len(panel.fitted) + 1)
    ]


def panel_trials(fold: Fold, found: Sequence[ReplayPanel]) -> list[StrategyTrial]:
    """Every panel with every level of the probability that the leading answer, or one of the answers, is
    right."""
    events: tuple[tuple[str, Callable[[Stage], Floats]], ...] = (
        ("the vote being right", lambda stage: stage.leading),
        ("one of them being right", lambda stage: 1 - stage.none),
    )
    return [
        _stopped(
            fold,
            panel,
            {"p": level, "probability_of": event},
            [_reaches(probability, level)] * (len(panel.fitted) - 1),
        )
        for panel in found
        for event, probability in events
        for level in LEVELS.tolist()
    ]


def stopping_trials(fold: Fold, found: Sequence[ReplayPanel]) -> list[StrategyTrial]:
    """Every panel, stopped where asking on is not expected to be worth its price."""
    return [
        _stopped(
            fold,
            panel,
            {"accuracy_per_billion": price},
            [_no_gain(rule) for rule in learn_stopping(fold.fit, panel.fitted, price)],
        )
        for panel in found
        for price in PRICES.tolist()
    ]


def _reaches(probability: Callable[[Stage], Floats], level: float) -> StopRule:
    return lambda part, stage: probability(stage) >= level


def _no_gain(rule: Floats) -> StopRule:
    return lambda part, stage: np.asarray(_features(part, stage) @ rule <= 0)


def _stopped(
    fold: Fold,
    panel: ReplayPanel,
    settings: dict[str, Any],
    rules: Sequence[StopRule],
) -> StrategyTrial:
    """`panel` stopped at the first stage whose rule holds, else at the last one."""
    outcomes = []
    for part, stages in ((fold.fit, panel.fitted), (fold.held_out, panel.held_out)):
        stop = np.stack(
            [
                *(rule(part, stage) for rule, stage in zip(rules, stages[:-1], strict=True)),
                np.ones(len(part), dtype=np.bool_),
            ]
        ).argmax(axis=0)
        score = np.zeros(len(part))
        asked = np.zeros(stages[0].asked.shape, dtype=np.bool_)
        for number, stage in enumerate(stages):
            rows = stop == number
            score[rows], asked[rows] = stage.score[rows], stage.asked[rows]
        outcomes.append(StrategyOutcome.of(part.data, score, asked))
    fitted, held_out = outcomes
    return StrategyTrial({"first": panel.name, "then": list(panel.order), **settings}, fitted, held_out)


def greedy_order(part: FoldPart, first: Ints, most: int) -> tuple[int, ...]:
    """Experts by column, each adding most to the vote of `first` (prompts,) and the earlier ones. The new
    expert's weight is searched on GAIN_WEIGHTS; the others' are refitted after each step."""
    experts = part.data.votes.shape[1]
    order: list[int] = []
    asked = _asked(first[:, None], experts)
    rows = np.arange(len(part))
    while len(order) < most and not asked.all():
        model = fit_votes(part.ballots.of(asked), part.data.option_scores, by_category=False)
        options = part.data.option_scores.shape[1]
        chances = model.probabilities(part.ballots.of(asked), options)
        with np.errstate(divide="ignore"):
            utilities = np.maximum(np.log(chances[:, :-1]) - np.log(chances[:, -1:]), -2.0)
        best = (-np.inf, -1)
        for expert in range(experts):
            if expert in order:
                continue
            vote = np.where(asked[:, expert], -1, part.data.votes[:, expert])
            voted = np.flatnonzero(vote >= 0)
            if not len(voted):
                continue
            for weight in GAIN_WEIGHTS:
                moved = utilities.copy()
                moved[voted, vote[voted]] += weight
                gain = part.data.option_scores[rows, moved.argmax(axis=1)].mean()
                best = max(best, (float(gain - SIZE_WEIGHT * part.data.sizes[expert]), expert))
        if best[1] < 0:
            break
        order.append(best[1])
        asked[:, best[1]] = True
    return tuple(order)


def learn_stopping(part: FoldPart, stages: Sequence[Stage], price: float) -> list[Floats]:
    """For each stage but the last, regression coefficients of the net gain of asking on."""
    value = stages[-1].score
    rules: list[Floats] = []
    for stage, following in zip(reversed(stages[:-1]), reversed(stages[1:]), strict=True):
        cost = price * ((following.asked & ~stage.asked) @ part.data.sizes)
        features = _features(part, stage)
        gain = value - cost - stage.score
        gram = features.T @ features + RIDGE * np.eye(features.shape[1])
        rule = np.asarray(np.linalg.solve(gram, features.T @ gain), dtype=np.float64)
        rules.append(rule)
        value = np.where(features @ rule > 0, value - cost, stage.score)
    return rules[::-1]


def _starts(fold: Fold) -> list[tuple[str, Ints, Ints]]:
    """First experts: name, and column on both parts."""
    fit, held_out = fold.fit, fold.held_out
    sizes, means = fit.data.sizes, fit.data.scores.mean(axis=0)
    names = fit.data.table.expert_names
    starts = []
    best = -np.inf
    for expert in sorted(range(len(sizes)), key=lambda each: (sizes[each], -means[each])):
        if means[expert] > best:
            best = means[expert]
            starts.append((names[expert], np.full(len(fit), expert), np.full(len(held_out), expert)))
    starts = starts[-3:]  # the largest of the efficient ones
    starts.append(("the routed expert", fit.routed, held_out.routed))
    cheap = sizes.min()
    weight = (means.max() - means[sizes == cheap].max()) / max(sizes.max() - cheap, 1e-9)
    if weight > 0:
        chosen = [(part.expected - weight * sizes).argmax(axis=1) for part in (fit, held_out)]
        starts.append(("the routed expert, size weighed", chosen[0], chosen[1]))
    return starts


def _rows(first: Ints, joining: Sequence[int], sizes: Floats, budget_b: float | None, most: int) -> Order:
    """The order of each prompt: its first expert, then the others, within the budget."""
    order = np.full((len(first), most), -1, dtype=np.int64)
    order[:, 0] = first
    spent = sizes[first].copy()
    place = np.ones(len(first), dtype=np.int64)
    for expert in joining:
        joins = (first != expert) & (place < most)
        if budget_b is not None:
            joins &= spent + sizes[expert] <= budget_b * (1 + 1e-9)
        rows = np.flatnonzero(joins)
        order[rows, place[rows]] = expert
        spent[rows] += sizes[expert]
        place[rows] += 1
    return order


def _asked(order: Order, experts: int) -> Booleans:
    asked = np.zeros((len(order), experts), dtype=np.bool_)
    row, step = np.nonzero(order >= 0)
    asked[row, order[row, step]] = True
    return asked


def _stage(part: FoldPart, model: VoteModel, asked: Booleans) -> Stage:
    chances = model.probabilities(part.ballots.of(asked), part.data.option_scores.shape[1])
    given = chances[:, :-1]
    choice = np.where(given.max(axis=1) > 0, given.argmax(axis=1), -1)
    if given.shape[1] > 1:
        top = np.partition(given, -2, axis=1)
        leading, second = top[:, -1], top[:, -2]
    else:
        leading, second = given[:, 0], np.zeros(len(given))
    return Stage(asked, choice, chosen_scores(part.data, choice, asked), leading, second, chances[:, -1])


def _features(part: FoldPart, stage: Stage) -> Floats:
    first, second = stage.leading, stage.second
    columns = [np.ones(len(part)), first, second, stage.none, first**2, first * second, second**2]
    return np.column_stack([*columns, part.ballots.posterior])
