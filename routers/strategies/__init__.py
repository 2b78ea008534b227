"""Strategies that ask several experts, as pure policies: from what is known so far to what is done next.

The service runs a policy on one request, a fit and a replay run the same policy on a whole table.
"""

from routers.strategies.strategy_policy import Action, Rollout, State, StrategyPolicy, rollout

__all__ = ["Action", "Rollout", "State", "StrategyPolicy", "rollout"]
