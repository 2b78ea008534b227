"""What a policy does, by the names of experts and categories: for reports, decisions and people."""

from collections.abc import Sequence
from typing import Any

from routers.strategies.ask_order import AskOrder
from routers.strategies.cascade_policies import AgreementCascade, ConfidenceCascade
from routers.strategies.mixed_policy import MixedPolicy
from routers.strategies.one_reply import SelfSelect, SinglePolicy
from routers.strategies.panel_policies import PanelPolicy, StoppingPolicy, VotePolicy
from routers.strategies.strategy_policy import StrategyPolicy


def policy_summary(
    policy: StrategyPolicy, experts: Sequence[str], categories: Sequence[str]
) -> dict[str, Any]:
    """The policy's settings, for JSON; `experts` and `categories` name its columns."""
    found: dict[str, Any] = {"kind": policy.kind}
    match policy:
        case SinglePolicy():
            found["weight"] = policy.weight
        case VotePolicy():
            found |= {
                **_order(policy.order, experts),
                "size": policy.size,
                "fitted": policy.model is not None,
            }
        case PanelPolicy():
            event = "the vote being right" if policy.event == "leading" else "one of them being right"
            found |= {**_order(policy.panel.order, experts), "probability_of": event, "p": policy.p}
        case StoppingPolicy():
            found |= {**_order(policy.panel.order, experts), "price": policy.price}
        case AgreementCascade():
            found |= {"experts": [experts[each] for each in policy.experts], "agree": policy.agree}
        case ConfidenceCascade():
            pair = {"weak": experts[policy.weak], "strong": experts[policy.strong]}
            found |= {**pair, "threshold": policy.model.threshold}
        case SelfSelect():
            found["experts"] = [experts[each] for each in policy.candidates or ()] or policy.count
        case MixedPolicy():
            found["by_category"] = {
                name: policy_summary(each, experts, categories)
                for name, each in zip(categories, policy.by_category, strict=True)
            }
    return found


def _order(order: AskOrder, experts: Sequence[str]) -> dict[str, Any]:
    first = "routed" if order.first is None else experts[order.first]
    return {"first": first, "joining": [experts[each] for each in order.joining]}
