"""Bradley-Terry strengths by Newton's method, for many bootstrap samples at once.

P(i beats j) = 1 / (1 + exp(θ_j - θ_i)) (Bradley & Terry 1952, Biometrika 39); a tie is half a win and half a
loss. A ridge keeps the strengths of players without a loss (or win) finite. (evalica gives the same
strengths, as a test checks, but bootstraps single verdicts instead of questions.)"""

from dataclasses import dataclass

import numpy as np

from eval.errors import EvalError
from eval.rating.resampling import Floats, Ints

RIDGE = 1e-6
TOLERANCE = 1e-7
STEPS = 100
LONGEST_STEP = 4.0


class RatingError(EvalError):
    """Verdicts that cannot be rated; the message says why."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Distinct pairs: `first[p]` against `second[p]`, players 0..`players` - 1."""

    first: Ints
    second: Ints
    players: int

    def __len__(self) -> int:
        return len(self.first)

    def is_star(self, anchor: int) -> bool:
        """Whether all pairs are against the anchor."""
        return bool((self.second == anchor).all() and (self.first != anchor).all())

    def strangers(self, anchor: int) -> Ints:
        """The players not connected to the anchor."""
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import connected_components

        edges = csr_array((np.ones(len(self)), (self.first, self.second)), shape=(self.players, self.players))
        _, part = connected_components(edges, directed=False)
        return np.flatnonzero(part != part[anchor])


def expected_win_rates(pairs: Pairs, points: Floats, games: Floats, anchor: int) -> Floats:
    """P(player beats the anchor), (rounds, players); 0.5 for the anchor, NaN without games in a round.
    `points` (wins + ties / 2 of the first player) and `games`: (rounds, pairs)."""
    rates: Floats = np.full((len(points), pairs.players), np.nan)
    if pairs.is_star(anchor):
        # Closed form: the share of points.
        with np.errstate(invalid="ignore"):
            rates[:, pairs.first] = points / games
    else:
        played = np.zeros_like(rates)
        np.add.at(played.T, pairs.first, games.T)
        np.add.at(played.T, pairs.second, games.T)
        rates = 1 / (1 + np.exp(-strengths(pairs, points, games, anchor)))
        rates[played == 0] = np.nan
    rates[:, anchor] = 0.5
    return rates


def strengths(pairs: Pairs, points: Floats, games: Floats, anchor: int) -> Floats:
    """θ of each player, natural log-odds against the anchor, (rounds, players). Raises RatingError without
    convergence."""
    rounds, players = len(points), pairs.players
    theta = np.zeros((rounds, players))
    first, second = pairs.first, pairs.second
    diagonal = np.arange(players)
    open_rounds = np.arange(rounds)
    for _ in range(STEPS):
        here = theta[open_rounds]
        chance = 1 / (1 + np.exp(here[:, second] - here[:, first]))
        surplus = points[open_rounds] - games[open_rounds] * chance
        weight = games[open_rounds] * chance * (1 - chance)
        gradient = -RIDGE * here
        hessian = np.zeros((len(open_rounds), players, players))
        np.add.at(gradient.T, first, surplus.T)
        np.add.at(gradient.T, second, -surplus.T)
        hessian[:, first, second] -= weight
        hessian[:, second, first] -= weight
        hessian[:, diagonal, diagonal] = RIDGE - hessian.sum(axis=2)
        gradient[:, anchor] = 0
        hessian[:, anchor, :] = 0
        hessian[:, :, anchor] = 0
        hessian[:, anchor, anchor] = 1
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        theta[open_rounds] = here + np.clip(step, -LONGEST_STEP, LONGEST_STEP)
        open_rounds = open_rounds[np.abs(step).max(axis=1) > TOLERANCE]
        if not len(open_rounds):
            return theta
    raise RatingError(f"the ratings did not settle in {STEPS} steps: verdicts contradict each other")
