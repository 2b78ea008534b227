"""Trials of strategies say what their policies are worth on prompts that were not fitted on."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from routers.strategies import rollout
from routers.strategies.panel_policies import PanelPolicy
from routers.strategy_fitting.mixed_fit import mixed_trials
from routers.strategy_fitting.panel_fit import fit_panels, panel_trials, stopping_trials, vote_trials
from routers.strategy_fitting.recorded_answers import AnswersError, RecordedAnswers
from routers.strategy_fitting.reply_fit import (
    agreement_trials,
    confidence_trials,
    self_select_trials,
    single_trials,
)
from routers.strategy_fitting.strategy_fit import StrategyOptions, fit_policies
from routers.strategy_fitting.training_data import StrategyTrial, TrainingData, best_within
from tests.unit.routers.strategy_fitting.planted import table, training

Fit = Callable[..., Sequence[StrategyTrial]]

FAMILIES = ("single", "vote", "panel", "stopping", "cascade", "confidence", "self_select", "mixed")
BUDGET = 18.5
BIG = 3


@cache
def planted(seed: int, missing: float = 0.0) -> TrainingData:
    """Prompts of two topics; log-probabilities say who is right, from a lower level for the big expert."""
    whole, random = table(400, seed=seed), np.random.default_rng(seed)
    scores = whole.scores
    mean = np.where(scores > 0.5, -0.3, -0.9) + random.normal(0, 0.2, scores.shape)
    mean[:, BIG] -= 1.0
    gone = random.random(scores.shape) < missing
    gone[:, 0] = False
    seen = replace(whole.table, scores=np.where(gone, np.nan, scores).astype(np.float32))
    return training(RecordedAnswers(seen, np.where(gone, -1, whole.answers), {"mean": mean}))


@cache
def trials(name: str, missing: float = 0.0) -> tuple[StrategyTrial, ...]:
    data = planted(1, missing)
    match name:
        case "single":
            return tuple(single_trials(data))
        case "cascade":
            return tuple(agreement_trials(data))
        case "confidence":
            return tuple(confidence_trials(data))
        case "self_select":
            return tuple(self_select_trials(data))
        case "mixed":
            return tuple(mixed_trials(data, [*trials("cascade", missing), *trials("stopping", missing)]))
    panels = fit_panels(data)
    made = {"vote": vote_trials, "panel": panel_trials, "stopping": stopping_trials}[name]
    return tuple(made(data, panels))


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("name", FAMILIES)
def test_trials_are_worth_on_new_prompts_what_they_say(name: str, missing: float) -> None:
    # On average: so few different prompts make single levels of probability jump.
    some = trials(name, missing)[::7]
    found = [planted(2, missing).run(each.policy) for each in some]

    scores = [new.score.mean() - each.outcome.score.mean() for new, each in zip(found, some, strict=True)]
    costs = [new.cost.mean() / each.outcome.cost.mean() for new, each in zip(found, some, strict=True)]
    assert np.mean(scores) == pytest.approx(0, abs=0.05)
    assert np.mean(costs) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", ["panel", "stopping", "cascade", "mixed"])
def test_asking_several_beats_the_best_expert_within_its_size(name: str) -> None:
    best = best_within(trials(name), BUDGET)

    assert best is not None
    found = planted(2).run(best.policy)
    assert found.score.mean() > planted(2).recorded.means.max() + 0.02


@pytest.mark.parametrize("name", FAMILIES)
def test_cells_without_a_score_are_experts_that_were_not_asked(name: str) -> None:
    data = planted(2, 0.2)

    for trial in trials(name, 0.2)[::11]:
        run = rollout(trial.policy, data.state, data.recorded)
        assert not (run.asked & ~data.recorded.known).any()


def test_without_log_probabilities_nothing_is_fitted_on_them() -> None:
    data = planted(1)
    plain = RecordedAnswers(data.recorded.table, data.recorded.answers)
    silent = TrainingData(plain, data.state, data.fold_of, data.costs)

    assert not confidence_trials(silent) and not self_select_trials(silent)


def test_who_is_less_sure_by_nature_is_evened_out() -> None:
    best = max(trials("self_select"), key=lambda each: each.outcome.score.mean())

    found = planted(2).run(best.policy)

    assert found.score.mean() > planted(2).recorded.means.max() + 0.05


@pytest.mark.parametrize("fit", [single_trials, agreement_trials, confidence_trials, self_select_trials])
def test_no_prompt_takes_more_than_the_limit(fit: Fit) -> None:
    for trial in fit(planted(1), limit=8.0):
        assert trial.outcome.cost.max() <= 8.0


@pytest.mark.parametrize("event", ["leading", "any"])
def test_a_higher_level_asks_more_experts(event: str) -> None:
    by_panel: dict[int, list[tuple[float, float]]] = {}
    for trial in trials("panel"):
        policy = trial.policy
        assert isinstance(policy, PanelPolicy)
        if policy.event == event:
            by_panel.setdefault(id(policy.panel), []).append((policy.p, trial.outcome.active.mean()))

    for found in by_panel.values():
        costs = [cost for _, cost in sorted(found)]
        assert costs == sorted(costs) and costs[0] < costs[-1]


def test_one_that_only_repeats_another_joins_last() -> None:
    for fit in fit_panels(planted(1)):
        if fit.panel.order.first in {0, BIG}:
            assert set(fit.panel.order.joining[-2:]) & {1, 2}


def test_mixing_takes_the_best_trial_of_each_category() -> None:
    data = planted(1)
    dear, cheap = single_trials(data)[0], single_trials(data)[-1]

    found = mixed_trials(data, [dear, cheap])

    assert found[0].outcome.score.mean() >= max(dear.outcome.score.mean(), cheap.outcome.score.mean())
    assert found[-1].outcome.cost.mean() == pytest.approx(cheap.outcome.cost.mean())


def test_budgets_below_every_strategy_are_refused_with_the_least() -> None:
    with pytest.raises(AnswersError, match=r"no strategy costs 0\.1 or less on average; the least is"):
        fit_policies(training(table(120)), StrategyOptions(budgets=(0.1,), most=2))
