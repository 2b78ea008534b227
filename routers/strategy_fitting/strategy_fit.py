"""Fits the strategies of a composition: trials of every family, and of each the best within each budget."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from routers.decision import FAMILIES
from routers.strategies.ask_order import costs_of
from routers.strategies.fitted_strategies import CategoryEvidence, FittedPolicy, PolicyEvidence, Unit
from routers.strategies.strategy_policy import Floats
from routers.strategy_fitting.mixed_fit import mixed_trials
from routers.strategy_fitting.panel_fit import (
    fit_panels,
    majority_trials,
    panel_trials,
    stopping_trials,
    vote_trials,
)
from routers.strategy_fitting.recorded_answers import AnswersError
from routers.strategy_fitting.reply_fit import (
    agreement_trials,
    confidence_trials,
    self_select_trials,
    single_trials,
)
from routers.strategy_fitting.training_data import (
    StrategyOutcome,
    StrategyTrial,
    TrainingData,
    best_within,
    means_by_category,
)

MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Default budgets, as multiples of what the best expert costs."""
MIN_PROMPTS = 100
"""Scored prompts below which nothing is fitted."""

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StrategyOptions:
    """`budgets` on average cost (none: multiples of the best expert's), in `unit`; `limit` on the cost of
    every prompt; `most` experts on a panel."""

    unit: Unit = "active"
    budgets: tuple[float, ...] = ()
    limit: float | None = None
    most: int = 7


def fit_policies(
    data: TrainingData, options: StrategyOptions, step: Step = lambda _: None
) -> list[tuple[FittedPolicy, StrategyOutcome]]:
    """The best policy of each family within each budget with its outcome on each prompt; one that is best
    within several default budgets is there once. Raises AnswersError for too few prompts."""
    if len(data) < MIN_PROMPTS:
        raise AnswersError(
            f"{len(data)} prompts with scores and answers are too few to fit strategies: "
            f"score at least {MIN_PROMPTS}"
        )
    families = strategy_trials(data, options, step)
    found: list[tuple[FittedPolicy, StrategyOutcome]] = []
    seen: set[int] = set()
    for name in FAMILIES:
        for budget in budgets_of(data, options):
            best = best_within(families[name], budget)
            if best is not None and (options.budgets or id(best.policy) not in seen):
                evidence = evidence_of(data, best.outcome)
                fitted = FittedPolicy(name, budget, options.unit, best.policy, evidence)
                found.append((fitted, best.outcome))
                seen.add(id(best.policy))
    if not found:
        raise AnswersError(_nothing_within(families, budgets_of(data, options)))
    return found


def _nothing_within(families: dict[str, list[StrategyTrial]], budgets: tuple[float, ...]) -> str:
    costs = [float(each.outcome.cost.mean()) for name in FAMILIES for each in families[name]]
    if not costs:
        return "there is no strategy to fit: the table needs two experts or more"
    return f"no strategy costs {budgets[-1]:g} or less on average; the least is {min(costs):.4g}"


def strategy_trials(
    data: TrainingData, options: StrategyOptions, step: Step = lambda _: None
) -> dict[str, list[StrategyTrial]]:
    """Trials by family, those that need no strategy (`single`) or no fit (`majority`) too."""
    limit = options.limit
    step("fitting panels")
    panels = fit_panels(data, limit=limit, most=options.most)
    step("trying cascades")
    cascades = [*agreement_trials(data, limit=limit), *confidence_trials(data, limit=limit)]
    chosen = self_select_trials(data, limit=limit)
    step("trying rules for stopping")
    votes, levels, stopping = (
        vote_trials(data, panels),
        panel_trials(data, panels),
        stopping_trials(data, panels),
    )
    step("trying strategies by category")
    single = single_trials(data, limit=limit)
    mixed = mixed_trials(data, [*single, *cascades, *votes, *stopping])
    return {
        "single": single,
        "majority": majority_trials(data, panels),
        "vote": votes,
        "cascade": cascades,
        "self_select": chosen,
        "panel": levels,
        "stopping": stopping,
        "mixed": mixed,
    }


def budgets_of(data: TrainingData, options: StrategyOptions) -> tuple[float, ...]:
    """The budgets asked for, else multiples of what the best expert costs on average."""
    if options.budgets:
        # As their ids show them.
        return tuple(sorted({float(f"{each:g}") for each in options.budgets}))
    best = int(data.recorded.means.argmax())
    cost = float(costs_of(data.costs, data.state)[:, best].mean())
    if cost <= 0:
        raise AnswersError("the best expert has no size in experts.yaml: params_b must be above 0")
    return tuple(float(f"{cost * each:.4g}") for each in MULTIPLES)


def evidence_of(data: TrainingData, outcome: StrategyOutcome) -> PolicyEvidence:
    """What an outcome says of its policy."""
    n = len(data)

    def by_category(values: Floats) -> Floats:
        return means_by_category(values, data.category, data.categories)

    return PolicyEvidence(
        n=n,
        folds=len(np.unique(data.fold_of)),
        score=float(outcome.score.mean()),
        error=float(outcome.score.std(ddof=1) / np.sqrt(n)),
        cost=float(outcome.cost.mean()),
        active_params_b=float(outcome.active.mean()),
        calls=float(outcome.calls.mean()),
        by_category=CategoryEvidence(
            score=by_category(outcome.score),
            cost=by_category(outcome.cost),
            active=by_category(outcome.active),
            calls=by_category(outcome.calls),
        ),
    )
