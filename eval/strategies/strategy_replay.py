"""Cross-fitted evaluation of strategies on an outcome table: quality against cost, with baselines.

Orders, weights, thresholds and the setting for each budget are fitted on the training folds. Figures are over
all held-out prompts, with bootstrap intervals over prompts and paired differences.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eval.rating.resampling import interval, resampled_means
from eval.strategies.folds import Fold, Step, choice_outcome, folds_of
from routers.cost_curve import CurvePoint, upper_hull
from routers.encoder import Encoder
from routers.fitting import FitOptions
from routers.fitting.stages import StageCache
from routers.request import Matrix
from routers.strategies.policy_summary import policy_summary
from routers.strategies.strategy_policy import Ints
from routers.strategy_fitting.panel_fit import MOST
from routers.strategy_fitting.recorded_answers import AnswersError, RecordedAnswers
from routers.strategy_fitting.strategy_fit import StrategyOptions, strategy_trials
from routers.strategy_fitting.training_data import StrategyOutcome, StrategyTrial, best_within

FAMILIES = ("single", "majority", "vote", "cascade", "self_select", "panel", "stopping", "mixed")
MULTIPLES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
"""Default budgets, in multiples of the best single expert's size."""
CONFIDENCE = 0.95

Key = tuple[str, float | None]
"""A strategy and its average budget."""


class ChosenTrial(NamedTuple):
    """What was chosen on a fold's training part: its settings, and its outcome on the held-out part."""

    settings: Mapping[str, Any]
    outcome: StrategyOutcome


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """`folds`, of which the first `parts` are evaluated (None: all); `rounds` of the bootstrap; `budgets_b`:
    average budgets to report, in billions of active parameters; `budget_b`: limit per prompt; `most`: experts
    on a panel; `correction`: fit compositions with the per-request correction."""

    folds: int = 5
    parts: int | None = None
    seed: int = 0
    rounds: int = 2000
    budgets_b: tuple[float, ...] = ()
    budget_b: float | None = None
    most: int = MOST
    correction: bool = False
    jobs: int = 0

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError("folds must be 2 or more: one part is judged, the others are fitted on")
        if self.parts is not None and not 1 <= self.parts <= self.folds:
            raise ValueError(f"parts must be 1 to {self.folds}, the number of folds")
        if self.rounds < 10:
            raise ValueError("rounds must be 10 or more: an interval needs draws")
        budgets = (*self.budgets_b, *(() if self.budget_b is None else (self.budget_b,)))
        if not all(0 < each < math.inf for each in budgets):
            raise ValueError("budgets must be numbers above 0, in billions of parameters")
        if self.most < 1:
            raise ValueError("a panel has 1 expert or more")


@dataclass(frozen=True, slots=True)
class Point:
    """A strategy's result. `within_b`: the budget that it was chosen for, None for the composition's own
    decision; `gains`: (difference, low, high) against each rival; `settings` per fold."""

    name: str
    within_b: float | None
    score: float
    low: float
    high: float
    active_params_b: float
    calls: float
    gains: Mapping[str, tuple[float, float, float]]
    settings: tuple[Mapping[str, Any], ...]

    def document(self) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in self.__slots__ if name not in {"gains", "settings"}}
        for rival, (difference, low, high) in self.gains.items():
            found[f"minus_{rival}"] = {"difference": difference, "low": low, "high": high}
        return {**found, "settings": {"parts": [dict(each) for each in self.settings]}}


@dataclass(frozen=True, slots=True)
class StrategyReport:
    """The result of `coterie strategies replay`. `baselines` and `singles`: (score, active parameters);
    `pareto`: (name, active parameters, score) of the upper hull."""

    n: int
    folds: int
    parts: int
    left_out: int
    points: tuple[Point, ...]
    baselines: Mapping[str, tuple[float, float]]
    singles: Mapping[str, tuple[float, float]]
    pareto: tuple[tuple[str, float, float], ...]
    settings: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        """For `--json`. Scores 0..1, parameters in billions."""
        return {
            "n": self.n,
            "folds": self.folds,
            "parts": self.parts,
            "left_out_unscored": self.left_out,
            "strategies": [each.document() for each in self.points],
            "baselines": {name: score for name, (score, _) in self.baselines.items()},
            "baselines_active_params_b": {name: active for name, (_, active) in self.baselines.items()},
            "singles": {
                name: {"score": score, "active_params_b": active}
                for name, (score, active) in self.singles.items()
            },
            "curve": {
                name: [
                    {"within_b": p.within_b, "active_params_b": p.active_params_b, "score": p.score}
                    for p in self.points
                    if p.name == name
                ]
                for name in FAMILIES
            },
            "pareto": [
                {"name": name, "active_params_b": active, "score": score}
                for name, active, score in self.pareto
            ],
            "settings": dict(self.settings),
        }


def replay(
    data: RecordedAnswers,
    features: Matrix,
    encoder: Encoder,
    settings: ReplaySettings,
    *,
    cache: Path | None = None,
    step: Step = lambda _: None,
) -> StrategyReport:
    """Evaluate all strategies on the prompts of `data` that every expert was scored on, with `features`
    (`routers.features`) by `encoder`; `cache`: folder of the fits' cache. Raises AnswersError."""
    features, data = features[data.known.all(axis=1)], data.complete()
    if not len(data):
        raise AnswersError("no prompt of the table is scored for every expert")
    parts = settings.parts or settings.folds
    budgets = _budgets(data, settings)
    chosen: dict[Key, list[ChosenTrial]] = {}
    rows: list[Ints] = []
    baselines: list[dict[str, StrategyOutcome]] = []
    options = FitOptions(seed=settings.seed, correction=settings.correction, jobs=settings.jobs)
    for number, fold in enumerate(
        folds_of(
            data,
            features,
            encoder,
            folds=settings.folds,
            parts=parts,
            options=options,
            stages=StageCache(cache, lambda what, done, total: step(f"fitting: {what}")),
            step=step,
        ),
        start=1,
    ):
        rows.append(fold.rows)
        baselines.append(
            {name: choice_outcome(fold.held_out, choice) for name, choice in fold.baselines.items()}
        )
        families = strategy_trials(
            fold.fit,
            StrategyOptions(limit=settings.budget_b, most=settings.most),
            lambda what, at=f"part {number} of {parts}": step(f"{at}: {what}"),  # type: ignore[misc]
        )
        judged: dict[int, ChosenTrial] = {}
        for name, trials in families.items():
            for budget in budgets:
                if (best := best_within(trials, budget)) is not None:
                    if id(best) not in judged:
                        judged[id(best)] = _judged(fold, best)
                    chosen.setdefault((name, budget), []).append(judged[id(best)])
        routed = choice_outcome(fold.held_out, fold.routed)
        chosen.setdefault(("single", None), []).append(
            ChosenTrial({"decision": "of the composition as fitted"}, routed)
        )
    step("intervals")
    return _report(
        data, data.take(np.concatenate(rows)), settings, parts, _distinct(chosen, parts), baselines
    )


def _judged(fold: Fold, trial: StrategyTrial) -> ChosenTrial:
    names = fold.held_out.recorded.table.expert_names
    settings = policy_summary(trial.policy, names, fold.categories)
    return ChosenTrial(settings, fold.held_out.run(trial.policy))


def _budgets(data: RecordedAnswers, settings: ReplaySettings) -> tuple[float, ...]:
    if settings.budgets_b:
        return tuple(sorted(set(settings.budgets_b)))
    best = float(data.sizes[int(data.means.argmax())])
    if best <= 0:
        raise AnswersError("experts.yaml gives the best expert no size: params_b must be above 0")
    return tuple(round(best * each, 6) for each in MULTIPLES)


def _distinct(chosen: Mapping[Key, list[ChosenTrial]], parts: int) -> dict[Key, list[ChosenTrial]]:
    """Without budgets that some fold has no trial for, and without repetitions."""
    found: dict[Key, list[ChosenTrial]] = {}
    seen = set()
    for key, each in sorted(chosen.items(), key=lambda one: (FAMILIES.index(one[0][0]), one[0][1] or 0)):
        identity = key[0], tuple(id(part) for part in each)
        if len(each) == parts and identity not in seen:
            seen.add(identity)
            found[key] = each
    return found


def _report(
    data: RecordedAnswers,
    judged: RecordedAnswers,
    settings: ReplaySettings,
    parts: int,
    chosen: Mapping[Key, Sequence[ChosenTrial]],
    baselines: Sequence[Mapping[str, StrategyOutcome]],
) -> StrategyReport:
    outcomes = {
        key: StrategyOutcome.joined([each.outcome for each in found]) for key, found in chosen.items()
    }
    rivals = {name: StrategyOutcome.joined([part[name] for part in baselines]) for name in baselines[0]}
    against = {"single": outcomes["single", None].score, "best_single": rivals["best_single"].score}
    columns = np.column_stack([each.score for each in outcomes.values()])
    samples = resampled_means(np.column_stack([columns, *against.values()]), settings.rounds, settings.seed)
    ours, theirs = samples[:, : columns.shape[1]], samples[:, columns.shape[1] :]
    low, high = interval(ours, CONFIDENCE)
    points = []
    for place, ((name, budget), outcome) in enumerate(outcomes.items()):
        gains = {}
        for number, (rival, scores) in enumerate(against.items()):
            limits = interval(ours[:, place : place + 1] - theirs[:, number : number + 1], CONFIDENCE)
            gains[rival] = (
                float((outcome.score - scores).mean()),
                float(limits[0][0]),
                float(limits[1][0]),
            )
        points.append(
            Point(
                name=name,
                within_b=budget,
                score=float(outcome.score.mean()),
                low=float(low[place]),
                high=float(high[place]),
                active_params_b=float(outcome.active.mean()),
                calls=float(outcome.calls.mean()),
                gains=gains,
                settings=tuple(each.settings for each in chosen[name, budget]),
            )
        )
    singles = {
        card.name: (float(judged.scores[:, column].mean()), float(card.active_params_b))
        for column, card in enumerate(judged.table.experts)
    }
    return StrategyReport(
        n=len(judged),
        folds=settings.folds,
        parts=parts,
        left_out=data.left_out,
        points=tuple(points),
        baselines=_baselines(judged, rivals),
        singles=singles,
        pareto=_pareto(points, singles),
        settings={
            "seed": settings.seed,
            "bootstrap_rounds": settings.rounds,
            "confidence": CONFIDENCE,
            "budget_b_per_prompt": settings.budget_b,
            "most_experts": settings.most,
            "correction": settings.correction,
        },
    )


def _baselines(
    judged: RecordedAnswers, rivals: Mapping[str, StrategyOutcome]
) -> dict[str, tuple[float, float]]:
    scores = judged.scores
    # Ties of the oracle go to the smallest expert.
    best = (scores - 1e-9 * judged.sizes).argmax(axis=1)
    return {
        "random": (float(scores.mean()), float(judged.sizes.mean())),
        **{name: (float(each.score.mean()), float(each.active.mean())) for name, each in rivals.items()},
        "oracle": (float(scores.max(axis=1).mean()), float(judged.sizes[best].mean())),
    }


def _pareto(
    points: Sequence[Point], singles: Mapping[str, tuple[float, float]]
) -> tuple[tuple[str, float, float], ...]:
    named = {(each.active_params_b, each.score): each.name for each in points}
    named |= {(active, score): name for name, (score, active) in singles.items()}
    hull = upper_hull([CurvePoint(0.0, active, score) for active, score in named])
    return tuple((named[each.cost, each.score], each.cost, each.score) for each in hull)
