"""Weighted voting by conditional logit (McFadden 1974) over the distinct answers of a prompt and "none":

    utility of an answer = Σ over the experts that gave it:  w[e] + Σ_c p(c|x)·d[c, e] + t·trust[x, e]
    utility of none      = b + Σ_c p(c|x)·b[c]

with the router's category posterior p(c|x) and trust, its log-odds that expert e is right. Joint fitting
accounts for correlated errors (for independent experts the weights are log-odds: Nitzan & Paroush 1982).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from routers.strategies.strategy_policy import Booleans, Floats, Ints, State

PENALTY = 0.5
"""L2 penalty on weights: a normal prior with standard deviation 1."""
CATEGORY_PENALTY = 10.0
"""L2 penalty on category deviations: a normal prior with standard deviation 0.22."""
ITERATIONS = 25
CURVATURE = 0.15
"""Typical second derivative of the log-loss of a vote in its utility."""
CLIP = 0.02
"""Expected scores are clipped to CLIP..1-CLIP before taking log-odds."""
SCALES = np.geomspace(0.4, 2.5, 45)
"""Candidates for the scale of utilities."""


@dataclass(frozen=True, slots=True)
class Ballots:
    """`votes` (prompts, experts): index of the expert's answer, or -1; `posterior` (prompts, categories);
    `trust` (prompts, experts) in log-odds."""

    votes: Ints
    posterior: Floats
    trust: Floats

    def __len__(self) -> int:
        return len(self.votes)

    @property
    def options(self) -> int:
        return int(self.votes.max(initial=-1)) + 1

    @classmethod
    def cast(cls, state: State) -> "Ballots":
        """What was answered so far; options are numbered by the call that first gave them."""
        first = first_given(state.answers)
        votes = np.full(state.expected.shape, -1, dtype=np.int64)
        row, call = np.nonzero(first >= 0)
        votes[row, state.order[row, call]] = first[row, call]
        return cls(votes, state.posterior, log_odds(state.expected))

    def take(self, rows: Ints) -> "Ballots":
        return Ballots(self.votes[rows], self.posterior[rows], self.trust[rows])

    def of(self, asked: Booleans) -> "Ballots":
        """The ballots of the experts `asked`, (experts,) or (prompts, experts)."""
        return Ballots(np.where(asked, self.votes, -1), self.posterior, self.trust)


@dataclass(frozen=True, slots=True)
class VoteModel:
    """Fitted weights: `weights` (experts,), `by_category` (categories, experts), `trust`, `none`,
    `none_by_category` (categories,). `scale` multiplies the utilities: it is fitted on held-out prompts, so
    that the probabilities are calibrated."""

    weights: Floats
    by_category: Floats
    trust: float
    none: float
    none_by_category: Floats
    scale: float = 1.0

    def probabilities(self, ballots: Ballots, options: int | None = None) -> Floats:
        """P(answer is right), (prompts, options + 1), the last column for none; 0 for options without a
        vote."""
        flat = _Flat.of(ballots, ballots.options if options is None else options)
        return flat.softmax(self.scale * flat.utilities(self))


def log_odds(expected: Floats) -> Floats:
    """Log-odds of expected scores, clipped."""
    clipped = np.clip(expected, CLIP, 1 - CLIP)
    return np.asarray(np.log(clipped / (1 - clipped)), dtype=np.float64)


def fit_scale(parts: Sequence[tuple[VoteModel, Ballots, Floats]]) -> float:
    """The scale of utilities of least log-loss over `parts`: models of one kind, each with ballots and
    `option_scores` that it was not fitted on."""
    prepared = []
    for model, ballots, scores in parts:
        flat = _Flat.of(ballots, scores.shape[1])
        prepared.append((flat, flat.utilities(model), _targets(flat.present, scores)))

    def loss(scale: float) -> float:
        nats = 0.0
        for flat, utilities, target in prepared:
            chances = flat.softmax(scale * utilities)
            nats -= float((target * np.log(np.maximum(chances, 1e-300))).sum())
        return nats

    return float(min(SCALES, key=loss))


def first_given(answers: Ints) -> Ints:
    """The first call of each row that gave the same answer, for `answers` (rows, calls); -1 for none."""
    if not answers.shape[1]:
        return answers
    same = answers[:, :, None] == answers[:, None, :]
    return np.where(answers >= 0, same.argmax(axis=2), -1).astype(np.int64)


def fit_votes(ballots: Ballots, option_scores: Floats, *, by_category: bool = True) -> VoteModel:
    """Fit on `option_scores` (prompts, options), 0..1, 0 where there is no such answer, by maximum a
    posteriori."""
    from scipy.optimize import minimize

    experts, categories = ballots.votes.shape[1], ballots.posterior.shape[1]
    flat = _Flat.of(ballots, option_scores.shape[1])
    target = _targets(flat.present, option_scores)
    shapes = (experts, categories * experts, 1, 1, categories)
    ends = np.cumsum(shapes)
    penalty = np.concatenate(
        [
            np.full(experts, PENALTY),
            np.full(categories * experts, CATEGORY_PENALTY),
            [PENALTY, 0.0],
            np.full(categories, CATEGORY_PENALTY),
        ]
    )

    def model(x: Floats) -> VoteModel:
        weights, deviations, trust, none, none_by_category = np.split(x, ends[:-1])
        by_expert = deviations.reshape(categories, experts)
        return VoteModel(weights, by_expert, float(trust[0]), float(none[0]), none_by_category)

    free = np.ones(ends[-1])
    if not by_category:
        free[ends[0] : ends[1]] = 0
        free[ends[3] :] = 0

    def loss(x: Floats) -> tuple[float, Floats]:
        found = model(x)
        chances = flat.softmax(flat.utilities(found))
        surplus = chances - target
        per_vote = surplus[flat.row, flat.option]
        gradient = np.concatenate(
            [
                np.bincount(flat.expert, weights=per_vote, minlength=experts),
                flat.by_category(per_vote, experts).ravel(),
                [float(per_vote @ flat.trust), float(surplus[:, -1].sum())],
                flat.posterior.T @ surplus[:, -1],
            ]
        )
        nats = -(target * np.log(np.maximum(chances, 1e-300))).sum() + (penalty * x * x).sum()
        return float(nats), free * (gradient + 2 * penalty * x)

    # In units in which the loss is about equally curved along every parameter, few iterations are enough.
    unit = 1 / np.sqrt(2 * penalty + CURVATURE * flat.squares(experts))

    def scaled(z: Floats) -> tuple[float, Floats]:
        nats, gradient = loss(z * unit)
        return nats, gradient * unit

    start = np.zeros(ends[-1])
    start[:experts] = 0.5
    found = minimize(scaled, start / unit, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
    return model(found.x * unit)


def _targets(present: Booleans, option_scores: Floats) -> Floats:
    """The distribution that probabilities are fitted to, (rows, options + 1)."""
    given = np.where(present[:, :-1], option_scores, 0.0)
    total = given.sum(axis=1)
    target = np.zeros(present.shape, dtype=np.float64)
    target[:, :-1] = given / np.maximum(total, 1.0)[:, None]
    target[:, -1] = np.maximum(0.0, 1.0 - total)
    return target


@dataclass(frozen=True, slots=True)
class _Flat:
    """Ballots with one entry per vote; `present` (rows, options + 1) marks options with votes, and none."""

    row: Ints
    expert: Ints
    option: Ints
    trust: Floats
    posterior: Floats
    present: Booleans

    @classmethod
    def of(cls, ballots: Ballots, options: int) -> "_Flat":
        row, expert = np.nonzero(ballots.votes >= 0)
        option = ballots.votes[row, expert]
        present = np.zeros((len(ballots), options + 1), dtype=np.bool_)
        present[row, option] = True
        present[:, -1] = True
        return cls(row, expert, option, ballots.trust[row, expert], ballots.posterior, present)

    def utilities(self, model: VoteModel) -> Floats:
        weight = (model.weights + self.posterior @ model.by_category)[self.row, self.expert]
        weight += model.trust * self.trust
        rows, columns = self.present.shape
        places = self.row * columns + self.option
        found = np.asarray(np.bincount(places, weights=weight, minlength=rows * columns), dtype=np.float64)
        found = found.reshape(rows, columns)
        found[:, -1] = model.none + self.posterior @ model.none_by_category
        return found

    def softmax(self, utilities: Floats) -> Floats:
        from scipy.special import softmax

        masked = np.where(self.present, utilities, -np.inf)
        return np.asarray(softmax(masked, axis=1), dtype=np.float64)

    def squares(self, experts: int) -> Floats:
        """Σ over votes, and over rows for "none", of the squared features, in the order of the parameters."""
        per_vote = np.ones(len(self.row))
        squared = self.posterior**2
        return np.concatenate(
            [
                np.bincount(self.expert, minlength=experts).astype(np.float64),
                self._summed(squared, per_vote, experts).ravel(),
                [float(self.trust @ self.trust), float(len(self.posterior))],
                squared.sum(axis=0),
            ]
        )

    def by_category(self, per_vote: Floats, experts: int) -> Floats:
        """Σ over votes of p(c|x)·value, (categories, experts)."""
        return self._summed(self.posterior, per_vote, experts)

    def _summed(self, shares: Floats, per_vote: Floats, experts: int) -> Floats:
        """Σ over votes of share·value, (categories, experts)."""
        rows = len(shares)
        summed = np.bincount(
            self.row * experts + self.expert, weights=per_vote, minlength=rows * experts
        ).reshape(rows, experts)
        return np.asarray(shares.T @ summed, dtype=np.float64)
