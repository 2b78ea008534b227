"""Which strategy answers a request, and who said so: the request, else the composition, else the operator."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from routers.decision import FAMILIES, SINGLE, Decision, StrategySource
from routers.policy import Policy, Rule
from routers.request import Request

if TYPE_CHECKING:
    from routers.composition import Composition

CHOICE = "strategy_choice"
"""In a composition's manifest: the choice among its strategies by category, with what it is to gain."""


@dataclass(frozen=True, slots=True)
class StrategySetting:
    """The operator's own strategy, and those that the service has (None: whatever is named)."""

    default: str = SINGLE
    available: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class StrategyChoice:
    """A strategy by name, where it came from, and a sentence that says so."""

    name: str = SINGLE
    source: StrategySource = "default"
    detail: str = ""


def choose_strategy(
    request: Request,
    category: str | None,
    policy: Policy,
    rule: Rule | None,
    setting: StrategySetting,
    composition: "Composition | None" = None,
) -> StrategyChoice:
    """The first that has a say: the request's `strategy`, the policy's for `category` (None: not sure of
    any), the policy's for all, the first operator's `rule` that matches and names one, the setting. One
    that the service lacks gives way to `single`, and so does one that the policy names although it is not
    fitted for the `composition`. The detail says so, or what held-out prompts say of the category's
    strategy."""
    chosen = _wish(request, category, policy, rule, setting.default)
    if setting.available is not None and chosen.name not in setting.available:
        return one_expert(chosen, f"there is no strategy {chosen.name!r} here")
    if chosen.source not in ("category", "composition") or family_of(chosen.name) not in FAMILIES:
        return chosen
    strategies = None if composition is None else composition.strategies
    if composition is None or strategies is None or strategies.find(chosen.name) is None:
        return one_expert(chosen, f"{chosen.name} is not fitted for this composition")
    if chosen.source == "category" and category is not None:
        return replace(chosen, detail=_explained(chosen.detail, chosen.name, category, composition.manifest))
    return chosen


def _explained(detail: str, name: str, category: str, manifest: Mapping[str, Any]) -> str:
    """`detail` with what held-out prompts say of the strategy and of one expert, where the fit chose it."""
    found = manifest.get(CHOICE, {}).get("by_category", {}).get(category, {})
    if found.get("strategy") != name or "single_score" not in found:
        return detail
    return (
        f"{detail.removesuffix('.')}: {found['score']:.2f} expected at {found['active_params_b']:.3g} B, "
        f"one expert {found['single_score']:.2f}."
    )


def family_of(name: str) -> str:
    """The family of a strategy's name or id: `stopping` of `stopping@16b`."""
    return name.partition("@")[0]


def one_expert(chosen: StrategyChoice, why: str) -> StrategyChoice:
    """`chosen`, answered by one expert all the same; `why` ends a sentence."""
    if chosen.name == SINGLE:
        return chosen
    return StrategyChoice(SINGLE, chosen.source, _one_expert(chosen.detail, why))


def give_up_strategy(decision: Decision, why: str) -> Decision:
    """The decision for one expert after all; `why` ends a sentence."""
    return replace(decision, strategy=SINGLE, strategy_detail=_one_expert(decision.strategy_detail, why))


def _wish(
    request: Request, category: str | None, policy: Policy, rule: Rule | None, default: str
) -> StrategyChoice:
    if (name := request.strategy) is not None:
        return StrategyChoice(name, "request", f"The client asked for {name}.")
    if category is not None and (name := policy.strategies.get(category)) is not None:
        return StrategyChoice(name, "category", f"The composition answers {category} with {name}.")
    if (name := policy.strategy) != SINGLE:
        return StrategyChoice(name, "composition", f"The composition answers with {name}.")
    if rule is not None and rule.strategy is not None:
        return StrategyChoice(
            rule.strategy, "rule", f"The operator's rule {rule.name!r} names {rule.strategy}."
        )
    if default != SINGLE:
        return StrategyChoice(default, "setting", f"The operator's setting is {default}.")
    return StrategyChoice()


def _one_expert(detail: str, why: str) -> str:
    return f"{detail} One expert answers: {why}.".strip()
