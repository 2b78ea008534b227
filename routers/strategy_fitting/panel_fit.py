"""Fits panels: the order of experts, the vote after each of them, and the rules for stopping.

Orders are chosen on all prompts. Votes are fitted on all prompts; what they are worth, their calibration and
the stopping rules come from votes that were fitted on the other folds. Stopping is learnt from the last
expert backwards by regression (least-squares Monte Carlo, Longstaff & Schwartz 2001).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from routers.strategies.ask_order import AskOrder, costs_of, passed
from routers.strategies.panel_policies import (
    Event,
    PanelPolicy,
    Stage,
    StoppingPolicy,
    VotePolicy,
    VotingPanel,
)
from routers.strategies.strategy_policy import Booleans, Floats, Ints, State, columns_in
from routers.strategies.vote_model import VoteModel, fit_scale, fit_votes
from routers.strategy_fitting.training_data import StrategyOutcome, StrategyTrial, TrainingData

MOST = 7
"""Maximum number of experts on a panel."""
GAIN_WEIGHTS = (0.3, 0.6, 1.0)
SIZE_WEIGHT = 0.0007
"""Accuracy per unit of cost in the greedy order, to prefer the cheaper of equal experts; per billion
parameters."""
LEVELS = np.round(np.concatenate([np.arange(0.2, 0.9, 0.05), [0.92, 0.95, 0.98, 1.0]]), 2)
PRICES = np.concatenate([[0.0], np.geomspace(2e-4, 3e-2, 16)])
"""Accuracy per unit of cost, for `stopping`, where the dearest expert costs 10."""
RIDGE = 1.0


@dataclass(frozen=True, slots=True)
class PanelFit:
    """A panel fitted on all prompts, and by place its cross-fitted `stages`, the `scores` of their answers,
    the experts `asked` by then, and the prompts that may stop there (`open`): those without an expert next in
    order that is not available."""

    panel: VotingPanel
    stages: tuple[Stage, ...]
    scores: tuple[Floats, ...]
    asked: tuple[Booleans, ...]
    open: tuple[Booleans, ...]


def fit_panels(data: TrainingData, *, limit: float | None = None, most: int = MOST) -> list[PanelFit]:
    """Panels that begin with each efficient expert and with the routed one; `limit` on every prompt's
    cost."""
    most = min(most, data.recorded.answers.shape[1])
    found = []
    for first, weight in _starts(data):
        start = AskOrder(first, (), data.costs, most, weight, limit)
        begins = start.plan(data.state)[:, 0]
        own = costs_of(data.costs, data.state)[np.arange(len(data)), begins]
        if limit is not None and own.max() > limit:
            continue
        order = replace(start, joining=greedy_order(data, begins, most))
        found.append(fit_panel(data, order))
    return found


def fit_panel(data: TrainingData, order: AskOrder) -> PanelFit:
    """The votes of `order` after each place."""
    plan = order.plan(data.state)
    available = data.state.available
    options = data.recorded.option_scores()
    folds = [
        (np.flatnonzero(data.fold_of != fold), np.flatnonzero(data.fold_of == fold))
        for fold in np.unique(data.fold_of)
    ]
    masks = [
        columns_in(plan[:, :step], available.shape[1]) & available for step in range(1, plan.shape[1] + 1)
    ]
    models: list[VoteModel] = []
    by_fold: list[list[VoteModel]] = [[] for _ in folds]
    for mask in masks:
        ballots = data.ballots.of(mask)
        parts = []
        for fitted, (others, rows) in zip(by_fold, folds, strict=True):
            fitted.append(fit_votes(ballots.take(others), options[others]))
            parts.append((fitted[-1], ballots.take(rows), options[rows]))
        scale = fit_scale(parts)
        models.append(replace(fit_votes(ballots, options), scale=scale))
        for fitted in by_fold:
            fitted[-1] = replace(fitted[-1], scale=scale)
    panels = [VotingPanel(order, tuple(fitted)) for fitted in by_fold]
    stages, open_ = [], []
    for step, mask in enumerate(masks, start=1):
        state = _after(data, plan, step)
        place = passed(plan, state)
        stages.append(
            _joined(
                [
                    (rows, panel.stage(state.take(rows), place[rows]))
                    for panel, (_, rows) in zip(panels, folds, strict=True)
                ]
            )
        )
        open_.append((place == step) & mask.any(axis=1))
    scores = tuple(data.recorded.scores_of(stage.answer) for stage in stages)
    panel = VotingPanel(order, tuple(models))
    return PanelFit(panel, tuple(stages), scores, tuple(masks), tuple(open_))


def vote_trials(data: TrainingData, found: Sequence[PanelFit]) -> list[StrategyTrial]:
    """Every panel with every number of experts."""
    return [
        StrategyTrial(
            "vote",
            VotePolicy(fit.panel.order, place + 1, fit.panel.models[place]),
            StrategyOutcome.asked(data, fit.scores[place], fit.asked[place]),
        )
        for fit in found
        for place in range(len(fit.stages))
    ]


def majority_trials(data: TrainingData, found: Sequence[PanelFit]) -> list[StrategyTrial]:
    """Unweighted votes of every panel with every number of experts."""
    policies = [VotePolicy(fit.panel.order, size) for fit in found for size in range(1, len(fit.stages) + 1)]
    return [StrategyTrial("majority", each, data.run(each)) for each in policies]


def panel_trials(data: TrainingData, found: Sequence[PanelFit]) -> list[StrategyTrial]:
    """Every panel with every level of the probability that the leading answer, or one of the answers, is
    right."""
    trials = []
    events: tuple[Event, ...] = ("leading", "any")
    for fit in found:
        for event in events:
            reached = [stage.leading if event == "leading" else 1 - stage.none for stage in fit.stages[:-1]]
            for level in LEVELS.tolist():
                stop = [each >= level for each in reached]
                trials.append(
                    StrategyTrial("panel", PanelPolicy(fit.panel, level, event), _stopped(data, fit, stop))
                )
    return trials


def stopping_trials(data: TrainingData, found: Sequence[PanelFit]) -> list[StrategyTrial]:
    """Every panel, stopped where asking on is not expected to be worth its price."""
    trials = []
    unit = 10.0 / max(float(costs_of(data.costs, data.state).max()), 1e-12)
    for fit in found:
        features = [stage.features(data.state.posterior) for stage in fit.stages[:-1]]
        every = np.arange(len(data))
        for price in (PRICES * unit).tolist():
            stop = [np.zeros(len(data), dtype=np.bool_) for _ in features]
            for fold in np.unique(data.fold_of):
                others, rows = np.flatnonzero(data.fold_of != fold), np.flatnonzero(data.fold_of == fold)
                rules = learn_stopping(data, fit, features, price, others)
                for place, (rule, columns) in enumerate(zip(rules, features, strict=True)):
                    stop[place][rows] = columns[rows] @ rule <= 0
            policy = StoppingPolicy(
                fit.panel, np.asarray(learn_stopping(data, fit, features, price, every)), price
            )
            trials.append(StrategyTrial("stopping", policy, _stopped(data, fit, stop)))
    return trials


def learn_stopping(
    data: TrainingData, fit: PanelFit, features: Sequence[Floats], price: float, rows: Ints
) -> list[Floats]:
    """For each place but the last, regression coefficients of the net gain of asking on, learnt on
    `rows`."""
    costs = costs_of(data.costs, data.state)[rows]
    value = fit.scores[-1][rows]
    rules: list[Floats] = []
    for place in range(len(features) - 1, -1, -1):
        joins = fit.asked[place + 1][rows] & ~fit.asked[place][rows]
        cost = price * (joins * costs).sum(axis=1)
        columns, now = features[place][rows], fit.scores[place][rows]
        gram = columns.T @ columns + RIDGE * np.eye(columns.shape[1])
        rule = np.asarray(np.linalg.solve(gram, columns.T @ (value - cost - now)), dtype=np.float64)
        rules.append(rule)
        value = np.where(columns @ rule > 0, value - cost, now)
    return rules[::-1]


def greedy_order(data: TrainingData, first: Ints, most: int) -> tuple[int, ...]:
    """Experts by column, each adding most to the vote of `first` (prompts,) and the earlier ones. The new
    expert's weight is searched on GAIN_WEIGHTS; the others' are refitted after each step."""
    answers, options, ballots = data.recorded.answers, data.recorded.option_scores(), data.ballots
    experts, rows = answers.shape[1], np.arange(len(data))
    costs = costs_of(data.costs, data.state)
    order: list[int] = []
    asked = columns_in(first[:, None], experts)
    while len(order) < most and not asked.all():
        model = fit_votes(ballots.of(asked), options, by_category=False)
        chances = model.probabilities(ballots.of(asked), options.shape[1])
        with np.errstate(divide="ignore"):
            utilities = np.maximum(np.log(chances[:, :-1]) - np.log(chances[:, -1:]), -2.0)
        best = (-np.inf, -1)
        for expert in range(experts):
            if expert in order:
                continue
            vote = np.where(asked[:, expert], -1, answers[:, expert])
            voted = np.flatnonzero(vote >= 0)
            if not len(voted):
                continue
            for weight in GAIN_WEIGHTS:
                moved = utilities.copy()
                moved[voted, vote[voted]] += weight
                gain = options[rows, moved.argmax(axis=1)].mean()
                best = max(best, (float(gain - SIZE_WEIGHT * costs[:, expert].mean()), expert))
        if best[1] < 0:
            break
        order.append(best[1])
        asked[:, best[1]] = True
    return tuple(order)


def _starts(data: TrainingData) -> list[tuple[int | None, float]]:
    """First experts by column, None for the routed one, and what cost weighs in its choice."""
    costs = costs_of(data.costs, data.state).mean(axis=0)
    means = data.recorded.means
    starts: list[tuple[int | None, float]] = []
    best = -np.inf
    for expert in sorted(range(len(costs)), key=lambda each: (costs[each], -means[each])):
        if means[expert] > best:
            best = means[expert]
            starts.append((expert, 0.0))
    starts = starts[-3:]  # the dearest of the efficient ones
    starts.append((None, 0.0))
    cheap = costs.min()
    weight = (means.max() - means[costs == cheap].max()) / max(float(costs.max() - cheap), 1e-12)
    if weight > 0:
        starts.append((None, float(weight)))
    return starts


def _after(data: TrainingData, plan: Ints, step: int) -> State:
    """The state after the first `step` places of `plan`."""
    rows = np.arange(len(data))
    ask = np.where(data.state.available[rows[:, None], plan[:, :step]], plan[:, :step], -1)
    return data.state.after(ask, *data.recorded.reveal(data.state, rows, ask))


def _joined(parts: Sequence[tuple[Ints, Stage]]) -> Stage:
    """One stage of the stages of parts of the rows."""
    order = np.argsort(np.concatenate([rows for rows, _ in parts]))
    return Stage(
        *(
            np.concatenate([getattr(stage, name) for _, stage in parts])[order]
            for name in ("answer", "leading", "second", "none")
        )
    )


def _stopped(data: TrainingData, fit: PanelFit, stop: Sequence[Booleans]) -> StrategyOutcome:
    """The panel stopped at the first place where `stop` holds, else at the last one."""
    stops = [here & open_ for here, open_ in zip(stop, fit.open, strict=False)]
    at = np.stack([*stops, np.ones(len(data), dtype=np.bool_)]).argmax(axis=0)
    rows = np.arange(len(data))
    return StrategyOutcome.asked(data, np.stack(fit.scores)[at, rows], np.stack(fit.asked)[at, rows])
