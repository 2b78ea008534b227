"""The order in which a strategy asks experts: a first one, which may depend on the request, then a list."""

from dataclasses import dataclass

import numpy as np

from routers.strategies.strategy_policy import Floats, Ints, State

TOLERANCE = 1 + 1e-9


@dataclass(frozen=True, slots=True)
class AskOrder:
    """Experts by column. `first` None: the available expert of the highest expected score minus `weight` ·
    cost; then those of `joining`, `most` experts in total. `costs` (experts,) or (categories, experts), in
    one unit; `limit` on their sum for a request."""

    first: int | None
    joining: tuple[int, ...]
    costs: Floats
    most: int
    weight: float = 0.0
    limit: float | None = None

    @property
    def steps(self) -> int:
        """Length of the longest order."""
        first = set() if self.first is None else {self.first}
        further = len(first | set(self.joining)) if first else 1 + len(self.joining)
        return min(self.most, further, int(self.costs.shape[-1]))

    def plan(self, state: State) -> Ints:
        """The whole order of each request, (n, steps), -1 pads. Experts that are not available keep their
        places."""
        rows = len(state)
        costs = costs_of(self.costs, state)
        first = self._first(state, costs)
        order = np.full((rows, self.steps), -1, dtype=np.int64)
        order[:, 0] = first
        spent = costs[np.arange(rows), first]
        place = np.ones(rows, dtype=np.int64)
        for expert in self.joining:
            joins = (first != expert) & (place < self.steps)
            if self.limit is not None:
                joins &= spent + costs[:, expert] <= self.limit * TOLERANCE
            found = np.flatnonzero(joins)
            order[found, place[found]] = expert
            spent[found] += costs[found, expert]
            place[found] += 1
        return order

    def _first(self, state: State, costs: Floats) -> Ints:
        if self.first is not None:
            return np.full(len(state), self.first, dtype=np.int64)
        values = state.expected - self.weight * costs
        if self.limit is not None:
            values = np.where(costs <= self.limit * TOLERANCE, values, values - 1e6)
        best: Ints = np.where(state.available, values, -np.inf).argmax(axis=1).astype(np.int64)
        return best


def costs_of(costs: Floats, state: State) -> Floats:
    """Costs of each expert for each request, (n, experts), from `costs` (experts,) or (categories,
    experts)."""
    if costs.ndim == 1:
        return np.broadcast_to(costs, state.expected.shape)
    return np.asarray(state.posterior @ costs, dtype=np.float64)


def passed(plan: Ints, state: State) -> Ints:
    """How many places of `plan` (n, steps) are behind each request: asked, or not available."""
    behind = state.asked | ~state.available
    at = np.where(plan >= 0, np.take_along_axis(behind, np.maximum(plan, 0), axis=1), False)
    return np.asarray(np.cumprod(at, axis=1).sum(axis=1), dtype=np.int64)


def lengths(plan: Ints) -> Ints:
    """The number of experts on each request's order."""
    return np.asarray((plan >= 0).sum(axis=1), dtype=np.int64)


def best_replied(state: State) -> Ints:
    """The column of the expert with the highest expected score among those that replied, -1 for none."""
    if not state.calls:
        return np.full(len(state), -1, dtype=np.int64)
    expected = np.take_along_axis(state.expected, np.maximum(state.order, 0), axis=1)
    values = np.where(state.replied, expected, -np.inf)
    best = values.argmax(axis=1)
    rows = np.arange(len(state))
    return np.where(state.replied[rows, best], state.order[rows, best], -1).astype(np.int64)
