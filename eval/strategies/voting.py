"""Weighted voting by conditional logit (McFadden 1974) over the distinct answers of a prompt and "none":

    utility of an answer = Σ over the experts that gave it:  w[e] + Σ_c p(c|x)·d[c, e] + t·trust[x, e]
    utility of none      = b + Σ_c p(c|x)·b[c]

with the router's category posterior p(c|x) and trust, its log-odds that expert e is right. Joint fitting
accounts for correlated errors (for independent experts the weights are log-odds: Nitzan & Paroush 1982).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

PENALTY = 0.5
"""L2 penalty on weights: a normal prior with standard deviation 1."""
CATEGORY_PENALTY = 10.0
"""L2 penalty on category deviations: a normal prior with standard deviation 0.22."""
ITERATIONS = 60


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

    def of(self, asked: Booleans) -> "Ballots":
        """The ballots of the experts `asked`, (experts,) or (prompts, experts)."""
        return Ballots(np.where(asked, self.votes, -1), self.posterior, self.trust)


@dataclass(frozen=True, slots=True)
class VoteModel:
    """Fitted weights: `weights` (experts,), `by_category` (categories, experts), `trust`, `none`,
    `none_by_category` (categories,)."""

    weights: Floats
    by_category: Floats
    trust: float
    none: float
    none_by_category: Floats

    def probabilities(self, ballots: Ballots, options: int | None = None) -> Floats:
        """P(answer is right), (prompts, options + 1), the last column for none; 0 for options without a
        vote."""
        flat = _Flat.of(ballots, ballots.options if options is None else options)
        return flat.softmax(flat.utilities(self))


def fit_votes(ballots: Ballots, option_scores: Floats, *, by_category: bool = True) -> VoteModel:
    """Fit on `option_scores` (prompts, options), 0..1, 0 where there is no such answer, by maximum a
    posteriori."""
    from scipy.optimize import minimize

    experts, categories = ballots.votes.shape[1], ballots.posterior.shape[1]
    flat = _Flat.of(ballots, option_scores.shape[1])
    given = np.where(flat.present[:, :-1], option_scores, 0.0)
    total = given.sum(axis=1)
    target = np.zeros_like(flat.present, dtype=np.float64)
    target[:, :-1] = given / np.maximum(total, 1.0)[:, None]
    target[:, -1] = np.maximum(0.0, 1.0 - total)
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

    start = np.zeros(ends[-1])
    start[:experts] = 0.5
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
    return model(found.x)


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

    def by_category(self, per_vote: Floats, experts: int) -> Floats:
        """Σ over votes of p(c|x)·value, (categories, experts)."""
        rows = len(self.posterior)
        summed = np.bincount(
            self.row * experts + self.expert, weights=per_vote, minlength=rows * experts
        ).reshape(rows, experts)
        return np.asarray(self.posterior.T @ summed, dtype=np.float64)
