"""A policy on its way through one request."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routers.strategies import Action, State, StrategyPolicy


@dataclass(slots=True)
class PolicyProgress:
    """A policy on its way through one request. `experts`: names by column; `texts`: replies in the order of
    asking, None for a failed call; `threshold`: from which likeness free texts count as the same answer."""

    policy: "StrategyPolicy"
    experts: tuple[str, ...]
    state: "State"
    threshold: float | None
    texts: list[str | None] = field(default_factory=list)
    action: "Action | None" = None

    @property
    def asked_now(self) -> list[str]:
        """Whom the latest action asks."""
        columns = [] if self.action is None else self.action.ask[0].tolist()
        return [self.experts[column] for column in columns if column >= 0]
