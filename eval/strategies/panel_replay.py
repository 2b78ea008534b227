"""Panels: experts join one after another, and their weighted vote answers.

An order of joining is fitted greedily; after each who joins, a vote of its own weighs the answers given
so far (`eval.strategies.voting`) and says how probable the leading one is. Three rules say when to stop:

- `vote`: after a fixed number
- `panel`: when the leading answer is right with probability p, or one of those given is
- `stopping`: when asking on is not expected to gain more than it costs, learnt backwards from the last
  expert by regression (least-squares Monte Carlo, Longstaff & Schwartz 2001)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.strategies.answer_table import Floats, Ints
from eval.strategies.folds import Fold, Part
from eval.strategies.trials import Outcome, Trial, chosen_scores
from eval.strategies.voting import Booleans, VoteModel, fit_votes

MOST = 7
"""Experts on a panel, at most."""
GAIN_WEIGHTS = (0.3, 0.6, 1.0)
SIZE_WEIGHT = 0.0007
"""Accuracy that an expert must add for each billion of its parameters to be preferred when orders are
fitted: otherwise the largest of two equals might join."""
LEVELS = np.round(np.concatenate([np.arange(0.2, 0.9, 0.05), [0.92, 0.95, 0.98, 1.0]]), 2)
PRICES = np.concatenate([[0.0], np.geomspace(2e-4, 3e-2, 16)])
"""Accuracy that a billion parameters must earn, for `stopping`."""
RIDGE = 1.0

Order = Ints
"""Experts by column in the order of joining, (prompts, steps); -1 where no more join."""


@dataclass(frozen=True, slots=True)
class Stage:
    """After the experts of a step have joined: who was `asked`, the leading answer's number `choice`
    (-1 for none), its `score`, and what the vote says: `leading`, `second` and `none` probabilities."""

    asked: Booleans
    choice: Ints
    score: Floats
    leading: Floats
    second: Floats
    none: Floats


@dataclass(frozen=True, slots=True)
class Panel:
    """An order of joining, `name`d for people, with the stages it goes through on both parts."""

    name: str
    order: tuple[str, ...]
    fitted: tuple[Stage, ...]
    held_out: tuple[Stage, ...]


def panels(fold: Fold, *, budget_b: float | None = None, most: int = MOST) -> list[Panel]:
    """Panels that begin with each expert that is worth its size, and with the expert whom the router chooses.

    With `budget_b` nobody joins who would take a prompt beyond it.
    """
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
        found.append(Panel(name, names, tuple(stages), tuple(further)))
    return found


def vote_trials(fold: Fold, found: Sequence[Panel]) -> list[Trial]:
    """Every panel stopped after every number of experts."""
    trials = []
    for panel in found:
        for size, (fitted, held_out) in enumerate(zip(panel.fitted, panel.held_out, strict=True), start=1):
            trials.append(
                Trial(
                    {"first": panel.name, "then": list(panel.order), "experts": size},
                    _outcome(fold.fit, [fitted], np.zeros(len(fold.fit), np.int64)),
                    _outcome(fold.held_out, [held_out], np.zeros(len(fold.held_out), np.int64)),
                )
            )
    return trials


def panel_trials(fold: Fold, found: Sequence[Panel]) -> list[Trial]:
    """Dynamic top-p: every panel, with every level of the probability that the leading answer is right,
    or that one of the answers is."""
    trials = []
    for panel in found:
        for criterion in ("vote", "one"):
            for level in LEVELS.tolist():
                stops = [
                    _first_true(
                        [_chance(stage, criterion) >= level for stage in stages[:-1]], len(stages[0].score)
                    )
                    for stages in (panel.fitted, panel.held_out)
                ]
                trials.append(
                    Trial(
                        {
                            "first": panel.name,
                            "then": list(panel.order),
                            "p": level,
                            "probability_of": "the vote being right"
                            if criterion == "vote"
                            else "one of them being right",
                        },
                        _outcome(fold.fit, panel.fitted, stops[0]),
                        _outcome(fold.held_out, panel.held_out, stops[1]),
                    )
                )
    return trials


def stopping_trials(fold: Fold, found: Sequence[Panel]) -> list[Trial]:
    """Every panel, asking on only where that is expected to earn its price."""
    trials = []
    for panel in found:
        for price in PRICES.tolist():
            rules = learn_stopping(fold.fit, panel.fitted, price)
            stops = [
                _first_true(
                    [_stops(rule, part, stage) for rule, stage in zip(rules, stages[:-1], strict=True)],
                    len(part),
                )
                for part, stages in ((fold.fit, panel.fitted), (fold.held_out, panel.held_out))
            ]
            trials.append(
                Trial(
                    {"first": panel.name, "then": list(panel.order), "accuracy_per_billion": price},
                    _outcome(fold.fit, panel.fitted, stops[0]),
                    _outcome(fold.held_out, panel.held_out, stops[1]),
                )
            )
    return trials


def greedy_order(part: Part, first: Ints, most: int) -> tuple[int, ...]:
    """Experts by column in the order in which they add most to the vote of `first` (prompts,) and each other.

    A newcomer's weight is tried on a short grid; the others' are fitted anew after each step.
    """
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


def learn_stopping(part: Part, stages: Sequence[Stage], price: float) -> list[Floats]:
    """For each stage but the last, coefficients of what asking on gains there, net of its price."""
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
    """Who is asked first: name, and expert by column on both parts."""
    fit, held_out = fold.fit, fold.held_out
    sizes, means = fit.data.sizes, fit.data.scores.mean(axis=0)
    names = fit.data.table.expert_names
    starts = []
    best = -np.inf
    for expert in sorted(range(len(sizes)), key=lambda each: (sizes[each], -means[each])):
        if means[expert] > best:
            best = means[expert]
            starts.append((names[expert], np.full(len(fit), expert), np.full(len(held_out), expert)))
    # Dominated by a larger and better one only in part: the last few are what is worth its size.
    starts = starts[-3:]
    starts.append(("the routed expert", fit.routed, held_out.routed))
    cheap = sizes.min()
    weight = (means.max() - means[sizes == cheap].max()) / max(sizes.max() - cheap, 1e-9)
    if weight > 0:
        chosen = [(part.expected - weight * sizes).argmax(axis=1) for part in (fit, held_out)]
        starts.append(("the routed expert, size weighed", chosen[0], chosen[1]))
    return starts


def _rows(first: Ints, joining: Sequence[int], sizes: Floats, budget_b: float | None, most: int) -> Order:
    """The order of each prompt: its first expert, then the others without it, within the budget."""
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


def _stage(part: Part, model: VoteModel, asked: Booleans) -> Stage:
    chances = model.probabilities(part.ballots.of(asked), part.data.option_scores.shape[1])
    given = chances[:, :-1]
    choice = np.where(given.max(axis=1) > 0, given.argmax(axis=1), -1)
    if given.shape[1] > 1:
        top = np.partition(given, -2, axis=1)
        leading, second = top[:, -1], top[:, -2]
    else:
        leading, second = given[:, 0], np.zeros(len(given))
    return Stage(asked, choice, chosen_scores(part.data, choice, asked), leading, second, chances[:, -1])


def _outcome(part: Part, stages: Sequence[Stage], stop: Ints) -> Outcome:
    score = np.zeros(len(part))
    asked = np.zeros(stages[0].asked.shape, dtype=np.bool_)
    for number, stage in enumerate(stages):
        rows = stop == number
        score[rows], asked[rows] = stage.score[rows], stage.asked[rows]
    return Outcome.of(part.data, score, asked)


def _chance(stage: Stage, criterion: str) -> Floats:
    return stage.leading if criterion == "vote" else 1 - stage.none


def _first_true(conditions: Sequence[Booleans], prompts: int) -> Ints:
    """The number of the first condition that holds for each prompt, or how many there are."""
    stacked = np.stack([*conditions, np.ones(prompts, dtype=np.bool_)], axis=1)
    return np.asarray(stacked.argmax(axis=1), dtype=np.int64)


def _features(part: Part, stage: Stage) -> Floats:
    columns = [
        np.ones(len(part)),
        stage.leading,
        stage.second,
        stage.none,
        stage.leading**2,
        stage.leading * stage.second,
        stage.second**2,
    ]
    return np.column_stack([*columns, part.ballots.posterior])


def _stops(rule: Floats, part: Part, stage: Stage) -> Booleans:
    return np.asarray(_features(part, stage) @ rule <= 0, dtype=np.bool_)
