"""Which server gives way, and which is loaded before it is asked for: LRU, LFU, a predictor learned online,
and Belady's optimum, which is told the future. Knows no clock, no memory and no queue.

A policy hears every request (`observe`) and ranks servers by what they are worth keeping (`worth`).
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from experts.residency_settings import PolicyName


class ResidencyPolicy(Protocol):
    """Decides by the requests so far alone."""

    @property
    def name(self) -> str: ...

    def observe(self, server: str) -> None:
        """A request for `server` has come."""

    def worth(self) -> Mapping[str, float]:
        """What each server is worth keeping, highest first to stay; only the order matters."""

    def likely(self) -> Mapping[str, float]:
        """The probability that a coming request is for each server, summing to one; empty for a policy that
        loads on demand alone."""


class LeastRecentlyUsed:
    """Whoever was asked for longest ago gives way."""

    name = "lru"

    def __init__(self, servers: Sequence[str]) -> None:
        self._last = dict.fromkeys(servers, 0)
        self._requests = 0

    def observe(self, server: str) -> None:
        self._requests += 1
        self._last[server] = self._requests

    def worth(self) -> Mapping[str, float]:
        return self._last

    def likely(self) -> Mapping[str, float]:
        return {}


class LeastFrequentlyUsed:
    """Whoever was asked for least often since the beginning gives way; of equals, the longest ago."""

    name = "lfu"

    def __init__(self, servers: Sequence[str]) -> None:
        self._count = dict.fromkeys(servers, 0)
        self._recent = LeastRecentlyUsed(servers)
        self._requests = 0

    def observe(self, server: str) -> None:
        self._requests += 1
        self._count[server] += 1
        self._recent.observe(server)

    def worth(self) -> Mapping[str, float]:
        order = self._recent.worth()
        # Recency is below the requests so far, so that it decides between equal counts alone.
        return {name: count + order[name] / (self._requests + 1) for name, count in self._count.items()}

    def likely(self) -> Mapping[str, float]:
        return {}


class NextExpertPredictor:
    """How likely each server is to be asked for soon, from exponentially weighted frequencies and a
    first-order transition table, both learned online.

    One request's weight halves every `half_life` requests. The transitions from the last server count as
    often as they were seen, and the frequencies as `prior` further observations (Dirichlet smoothing). Later
    requests count less: with T the smoothed table, e the last server and γ = 1 - 1/horizon, a server's
    likelihood is its entry of (1 - γ) e T (I - γT)⁻¹, the probability that it is asked for after a number of
    requests that is geometric with mean `horizon`. They sum to one.
    """

    name = "predictor"

    def __init__(
        self, servers: Sequence[str], *, half_life: float = 200.0, prior: float = 4.0, horizon: float = 4.0
    ) -> None:
        self._servers = tuple(servers)
        self._index = {name: place for place, name in enumerate(servers)}
        self._decay = 0.5 ** (1.0 / half_life)
        self._prior = prior
        self._later = 1.0 - 1.0 / horizon
        count = len(self._servers)
        self._frequency: npt.NDArray[np.float64] = np.zeros(count)
        self._transitions: npt.NDArray[np.float64] = np.zeros((count, count))
        self._previous: int | None = None
        self._soon: Mapping[str, float] | None = None

    def observe(self, server: str) -> None:
        place = self._index[server]
        self._frequency *= self._decay
        self._frequency[place] += 1.0
        if self._previous is not None:
            self._transitions[self._previous] *= self._decay
            self._transitions[self._previous, place] += 1.0
        self._previous = place
        self._soon = None

    def worth(self) -> Mapping[str, float]:
        if self._soon is None:
            table = self._table()
            row = table.mean(axis=0) if self._previous is None else table[self._previous]
            weighted = np.linalg.solve((np.eye(len(row)) - self._later * table).T, (1.0 - self._later) * row)
            self._soon = dict(zip(self._servers, weighted.tolist(), strict=True))
        return self._soon

    def likely(self) -> Mapping[str, float]:
        return self.worth()

    def _table(self) -> npt.NDArray[np.float64]:
        """Smoothed transition probabilities, (servers, servers)."""
        # One observation of everybody, so that nobody is impossible.
        overall = (self._frequency + 1.0 / len(self._servers)) / (self._frequency.sum() + 1.0)
        seen = self._transitions.sum(axis=1, keepdims=True)
        return np.asarray((self._transitions + self._prior * overall) / (seen + self._prior))


class Belady:
    """Whoever is asked for again last gives way (Belady, 1966, MIN): the fewest loads on demand for servers
    of one size. With unlike sizes nobody knows the optimum cheaply, and this is a strong reference. Needs the
    whole stream."""

    name = "belady"

    def __init__(self, servers: Sequence[str], stream: Iterable[str]) -> None:
        self._next: dict[str, deque[int]] = {name: deque() for name in servers}
        for place, server in enumerate(stream):
            self._next[server].append(place)

    def observe(self, server: str) -> None:
        self._next[server].popleft()

    def worth(self) -> Mapping[str, float]:
        return {name: -(uses[0] if uses else float("inf")) for name, uses in self._next.items()}

    def likely(self) -> Mapping[str, float]:
        return {}


POLICIES: Mapping[PolicyName, Callable[[Sequence[str]], ResidencyPolicy]] = {
    "lru": LeastRecentlyUsed,
    "lfu": LeastFrequentlyUsed,
    "predictor": NextExpertPredictor,
}
"""Those that need no future."""
