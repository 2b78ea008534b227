"""Policies for strategies that are asked for without a fit: equal votes, token probabilities. `experts` are
the names by column; each returns the policy, or why there is none as the end of a sentence."""

from typing import TYPE_CHECKING, Any

from app.strategies.strategy_run import Candidate, Run

if TYPE_CHECKING:
    from routers.strategies import StrategyPolicy


def unfitted_vote(run: Run, experts: tuple[str, ...]) -> "StrategyPolicy | str":
    """One vote each; ties go to the reply of the expert of better value."""
    import numpy as np

    from routers.strategies.ask_order import AskOrder
    from routers.strategies.panel_policies import VotePolicy

    members = _named(run, run.options.members, run.options.size)
    if isinstance(members, str):
        return members
    first, *others = (experts.index(each.expert) for each in members)
    return VotePolicy(AskOrder(first, tuple(others), np.zeros(len(experts)), len(members)), len(members))


def unfitted_self_select(run: Run, experts: tuple[str, ...]) -> "StrategyPolicy | str":
    """The highest mean log-probability plus bias."""
    from routers.strategies.one_reply import SelfSelect

    options = run.options
    members = _named(run, options.experts, options.candidates)
    if isinstance(members, str):
        return members
    if lacking := run.lacks(*options.bias):
        return lacking
    bias = {experts.index(name): float(value) for name, value in options.bias.items()}
    return SelfSelect(candidates=tuple(experts.index(each.expert) for each in members), bias=bias)


def unfitted_cascade(run: Run, experts: tuple[str, ...]) -> "StrategyPolicy | str":
    """The geometric mean of the weak expert's token probabilities against a threshold."""
    from routers.cascade_model import CascadeModel
    from routers.strategies.cascade_policies import ConfidenceCascade

    pair = _pair(run)
    if isinstance(pair, str):
        return pair
    weak, strong = (each.expert for each in pair)
    given: dict[str, Any] = {} if run.options.threshold is None else {"threshold": run.options.threshold}
    model = CascadeModel(weak=weak, strong=strong, **given)
    run.trace.values["threshold"] = model.threshold
    return ConfidenceCascade(experts.index(weak), experts.index(strong), model)


def _named(run: Run, names: tuple[str, ...] | None, count: int) -> list[Candidate] | str:
    """The candidates of these names, else the first `count`; best value first."""
    if names is None:
        return list(run.candidates[:count])
    if lacking := run.lacks(*names):
        return lacking
    return [each for each in run.candidates if each.expert in names]


def _pair(run: Run) -> tuple[Candidate, Candidate] | str:
    """The weak and the strong expert. Strong is the candidate of the highest expected score, whatever it
    costs; weak the best by value of those with fewer active parameters, or a lower expected cost."""
    options = run.options
    if lacking := run.lacks(options.weak, options.strong):
        return lacking
    strong = run.candidate(options.strong) or max(
        (each for each in run.candidates if each.expert != options.weak),
        key=lambda each: (each.expected, each.active_params_b),
        default=None,
    )
    if strong is None:
        return "no other expert can answer it"
    weak = run.candidate(options.weak) or next(
        (each for each in run.candidates if each.expert != strong.expert and _cheaper(each, strong)), None
    )
    if weak is None:
        return f"no expert cheaper than {strong.expert} can answer it"
    if weak.expert == strong.expert:
        return "weak and strong are the same expert"
    return weak, strong


def _cheaper(one: Candidate, other: Candidate) -> bool:
    if one.active_params_b != other.active_params_b:
        return one.active_params_b < other.active_params_b
    return one.cost is not None and other.cost is not None and one.cost < other.cost
