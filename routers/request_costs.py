"""What a request is expected to cost: tokens by category and expert, dollars, and compute.

Dollars are tokens times their prices. Compute is active parameters (billions) times the tokens that are read
and written, in B·tokens. What is unknown is NaN, never 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal, NamedTuple, Protocol

import numpy as np

from routers.request import Matrix, Vector

CostKind = Literal["active", "cost", "compute"]
UNITS: Mapping[CostKind, str] = {
    "active": "B active parameters",
    "cost": "$ a request",
    "compute": "B·tokens a request",
}
COMPUTE_UNIT = 1_000.0
"""`compute_weight` is utility per so many B·tokens."""


class Priced(Protocol):
    """What is needed of an expert's card."""

    @property
    def name(self) -> str: ...
    @property
    def active_params_b(self) -> float: ...
    @property
    def price_input(self) -> float | None: ...
    @property
    def price_output(self) -> float | None: ...


class Card(Priced, Protocol):
    """With whose weights it shares."""

    @property
    def base(self) -> str | None: ...


class Weights(Protocol):
    """What is needed of a policy."""

    @property
    def active_weight(self) -> float: ...
    @property
    def cost_weight(self) -> float: ...
    @property
    def compute_weight(self) -> float: ...
    @property
    def wake_costs(self) -> Mapping[str, float]: ...


class UnknownCost(Exception):
    """A cost was to be weighed that is not known of some expert; the message names it."""


@dataclass(frozen=True, slots=True)
class ExpectedTokens:
    """Tokens of prompt and answer, (categories, experts), NaN for experts of whom nothing is known; `shares`
    (categories,): of the prompts, summing to one."""

    tokens_in: Matrix
    tokens_out: Matrix
    shares: Vector

    def dollars(self, experts: Sequence[Priced]) -> Matrix:
        """$ a request, (categories, experts)."""
        paid_in, paid_out = (
            np.asarray([np.nan if price is None else price for price in prices], dtype=np.float64)
            for prices in zip(*((card.price_input, card.price_output) for card in experts), strict=True)
        )
        return np.asarray((self.tokens_in * paid_in + self.tokens_out * paid_out) / 1e6, dtype=np.float32)

    def compute(self, experts: Sequence[Priced]) -> Matrix:
        """B·tokens a request, (categories, experts)."""
        sizes = np.asarray([card.active_params_b for card in experts], dtype=np.float64)
        return np.asarray((self.tokens_in + self.tokens_out) * sizes, dtype=np.float32)

    def keep(self, columns: Sequence[int]) -> "ExpectedTokens":
        """Those of these experts."""
        index = list(columns)
        return ExpectedTokens(self.tokens_in[:, index], self.tokens_out[:, index], self.shares)

    def with_unknown(self, experts: int) -> "ExpectedTokens":
        """With `experts` more columns of which nothing is known."""
        shape = (len(self.shares), experts)
        nothing = np.full(shape, np.nan, dtype=np.float32)
        return ExpectedTokens(
            np.hstack([self.tokens_in, nothing]), np.hstack([self.tokens_out, nothing]), self.shares
        )


def costs(
    experts: Sequence[Priced],
    policy: Weights,
    tokens: ExpectedTokens | None,
    posterior: Matrix | None = None,
) -> Matrix:
    """What `policy` takes off each expert's expected score, (rows, experts), for requests with `posterior`
    (rows, categories); None: one row, for the mix of all categories. Raises UnknownCost."""
    sizes = np.asarray([policy.active_weight * card.active_params_b for card in experts], dtype=np.float32)
    if policy.wake_costs:
        woken = [policy.wake_costs.get(card.name, 0.0) for card in experts]
        sizes = sizes + np.asarray(woken, dtype=np.float32)
    rows = 1 if posterior is None else len(posterior)
    total = np.broadcast_to(sizes, (rows, len(experts)))
    by_kind: tuple[tuple[CostKind, float], ...] = (
        ("cost", policy.cost_weight),
        ("compute", policy.compute_weight / COMPUTE_UNIT),
    )
    for kind, weight in by_kind:
        if weight:
            of_category = known_costs(kind, experts, tokens)
            shares = (tokens.shares if tokens else np.ones(1))[None, :] if posterior is None else posterior
            total = total + (weight * (shares @ of_category)).astype(np.float32)
    return total


def known_costs(kind: CostKind, experts: Sequence[Priced], tokens: ExpectedTokens | None) -> Matrix:
    """The cost of a request by category, (categories, experts) or (1, experts) for `active`. Raises
    UnknownCost for an expert of whom it is not known."""
    if kind == "active":
        return np.asarray([[card.active_params_b for card in experts]], dtype=np.float32)
    if tokens is None:
        raise UnknownCost(
            f"the {_name(kind)} of a request is not known: the outcome table has no tokens_in.parquet and "
            "tokens_out.parquet, which `coterie score` writes; or weigh active parameters"
        )
    if kind == "cost":
        free = [card.name for card in experts if card.price_input is None or card.price_output is None]
        if free:
            raise UnknownCost(
                f"no price is known of {', '.join(free)}: give `price: {{input: ..., output: ...}}` in the "
                "registry (0 for what costs nothing), or fit without (--only)"
            )
    found = tokens.dollars(experts) if kind == "cost" else tokens.compute(experts)
    silent = [
        card.name
        for card, unknown in zip(experts, np.asarray(np.isnan(found).any(axis=0)).tolist(), strict=True)
        if unknown
    ]
    if silent:
        raise UnknownCost(
            f"nothing is known of the tokens that {', '.join(silent)} takes: score some prompts with "
            "`coterie score`, or weigh active parameters"
        )
    return found


def _name(kind: CostKind) -> str:
    return {"active": "size", "cost": "cost", "compute": "compute"}[kind]


def cell_costs(
    kind: CostKind,
    experts: Sequence[Priced],
    tokens: ExpectedTokens | None,
    posterior: Matrix,
    tokens_in: Matrix | None = None,
    tokens_out: Matrix | None = None,
) -> Matrix:
    """What each request took of each expert, (rows, experts): by the counts of a table where they are known,
    else as expected for its `posterior` (rows, categories). NaN unknown."""
    sizes = np.asarray([card.active_params_b for card in experts], dtype=np.float32)
    shape = (len(posterior), len(experts))
    if kind == "active":
        return np.broadcast_to(sizes, shape)
    expected = np.full(shape, np.nan, dtype=np.float32)
    if tokens is not None:
        of_category = tokens.dollars(experts) if kind == "cost" else tokens.compute(experts)
        expected = posterior @ of_category
    if tokens_in is None or tokens_out is None:
        return expected
    counted = ExpectedTokens(tokens_in, tokens_out, np.ones(len(posterior), dtype=np.float32))
    real = counted.dollars(experts) if kind == "cost" else counted.compute(experts)
    found: Matrix = np.where(np.isnan(real), expected, real)
    return found


class ExpectedUse(NamedTuple):
    """What one request is expected to take of one expert: tokens, $ and B·tokens, each None when unknown."""

    tokens_in: float | None
    tokens_out: float | None
    cost: float | None
    compute: float | None


UNKNOWN_USE = ExpectedUse(None, None, None, None)


@dataclass(frozen=True, slots=True)
class MeanUse:
    """What requests are expected to take of one expert: mean tokens of prompt and answer, None where nothing
    is known; `front`: tokens that an arm puts in front of a prompt, the difference between its mean and its
    base's. Prices in $ per million tokens."""

    tokens_in: float | None
    tokens_out: float | None
    front: float
    price_input: float | None
    price_output: float | None
    active_params_b: float

    def of(self, prompt_tokens: int) -> ExpectedUse:
        """Of one request by its own tokens, as the expert counts them; 0 where nobody did: then the mean
        stands for them."""
        read = prompt_tokens + self.front if prompt_tokens else self.tokens_in
        written, paid_in, paid_out = self.tokens_out, self.price_input, self.price_output
        if read is None or written is None:
            return ExpectedUse(read, written, None, None)
        cost = None
        if paid_in is not None and paid_out is not None:
            cost = (read * paid_in + written * paid_out) / 1e6
        return ExpectedUse(read, written, cost, (read + written) * self.active_params_b)


def mean_uses(
    tokens: ExpectedTokens, experts: Sequence[Card], posterior: Vector | None
) -> tuple[MeanUse, ...]:
    """By expert, of requests with `posterior` (categories,); None: of the mix of all categories."""
    shares = tokens.shares if posterior is None else posterior
    read, written = (shares @ tokens.tokens_in).tolist(), (shares @ tokens.tokens_out).tolist()
    mean_of = {card.name: mean for card, mean in zip(experts, read, strict=True)}
    found = []
    for card, mean_in, mean_out in zip(experts, read, written, strict=True):
        front = mean_in - mean_of.get(card.base or "", mean_in)
        tokens_in, tokens_out = (None if isnan(mean) else mean for mean in (mean_in, mean_out))
        prices = card.price_input, card.price_output
        above = 0.0 if isnan(front) else max(0.0, front)
        found.append(MeanUse(tokens_in, tokens_out, above, *prices, card.active_params_b))
    return tuple(found)
