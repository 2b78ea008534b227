"""What the router returns for one request, with its reason. Data only; `routers.decide` makes it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

EXPECTATIONS = ("expected_cost", "expected_compute", "alternative_cost", "alternative_compute")
"""Properties of a decision that its documents show beside its fields."""

UNSEEN = frozenset({"posterior"})
"""Fields of a decision that its documents and rows leave out."""

SINGLE = "single"
"""The strategy that every service has: one expert answers."""

FAMILIES = ("cascade", "mixed", "panel", "self_select", "stopping", "vote")
"""Strategies that are policies of `routers.strategies`, fitted for a composition."""

StrategySource = Literal["request", "category", "composition", "rule", "setting", "default"]


class Reason(StrEnum):
    """Why this expert answers. Exactly one holds; later steps overwrite earlier ones."""

    MATCHED = "matched"
    """The classifier was sure of the category and the category's utilities chose the expert."""
    UNCERTAIN = "uncertain"
    """Low probability, or far from everything seen: the generalist answers."""
    PINNED = "pinned"
    """The client named the expert or the category."""
    RULE = "rule"
    """An operator's rule named the expert or the category."""
    STICKY = "sticky"
    """The conversation's current expert stays: the gain of leaving is below the switch cost."""
    HELD = "held"
    """A tool call of this expert is open: nobody else may answer between call and result."""
    FILTERED = "filtered"
    """Context length, tools or vision ruled out the first choice."""
    SPILLED = "spilled"
    """The chosen expert was unavailable when it was called; another one answered."""
    EXPLORED = "explored"
    """An expert drawn at random answers, so that its chance of being right can be learned."""
    LIMITED = "limited"
    """The caller's key has used up its quota of escalations: the best expert within its price answers."""


class Classification(StrEnum):
    """What became of stage 1."""

    CLASSIFIED = "classified"
    UNCLASSIFIED = "unclassified"
    """Stage 1 was not sure enough, the request is unlike all it has seen, or it has no text."""
    SKIPPED = "skipped"
    """A pin or a rule made stage 1 unnecessary."""


@dataclass(frozen=True, slots=True)
class CategoryProbability:
    """A category with its calibrated probability, 0..1."""

    category: str
    probability: float


class Choice(NamedTuple):
    """One expert as stage 2 ranked it.

    `utility` is the expected score in 0..1 under the whole posterior, Σ_c p(c|x)·U[c,e];
    `correction` what the request itself adds to it; `value` = utility + correction + boost - costs,
    the quantity that is ranked. `active_params_b` is in billions. `tokens_in` and `tokens_out` are expected
    of a request like this one, `cost` is what they cost in $, `compute` active parameters times tokens in
    B·tokens; each None when unknown. `excluded` says why the expert may not answer this request, None if it
    may.
    """

    expert: str
    utility: float
    correction: float
    value: float
    active_params_b: float
    tokens_in: float | None = None
    tokens_out: float | None = None
    cost: float | None = None
    compute: float | None = None
    excluded: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which expert answers one request, and why."""

    id: str
    composition: str
    """Digest of the composition that decided."""
    classification: Classification
    category: str | None
    """The predicted, pinned or ruled category; None when there is none."""
    probability: float | None
    """Calibrated probability of `category`, 0..1; None when stage 1 read nothing."""
    runners_up: tuple[CategoryProbability, ...]
    ood_score: float | None
    """Distance from what stage 1 has seen as a quantile of held-out distances, 0 (near)..1 (far)."""
    ranking: tuple[Choice, ...]
    """Every expert of the composition, best value first, the excluded ones last."""
    expert: str
    strategy: str = SINGLE
    strategy_source: StrategySource = "default"
    """Who chose the strategy."""
    strategy_detail: str = ""
    """One sentence on it; empty for the default."""
    reason: Reason
    detail: str
    """One sentence for people, without any text of the prompt."""
    spilled_from: str | None = None
    """The expert that was chosen first, when `reason` is `spilled`."""
    explored_from: str | None = None
    """The expert that was chosen, when another one was drawn at random in its place."""
    propensity: float | None = None
    """The chance that `expert` had of answering, 0..1, where exploration had its say; else None."""
    escalated: bool | None = None
    """Whether the request counts against its key's quota of escalations; None without a quota."""
    limited_from: str | None = None
    """The expert, or the strategy of several, that was chosen when the quota was used up."""

    alternative: str | None = None
    """The expert that costs are compared with: the one fixed expert that would answer in the router's
    place."""
    posterior: tuple[float, ...] | None = None
    """Probability of each category of the composition, for strategies; None when nothing is known."""

    @property
    def expected_cost(self) -> float | None:
        """$ that this request is expected to cost; None when unknown."""
        return self._of(self.expert, "cost")

    @property
    def expected_compute(self) -> float | None:
        """B·tokens that it is expected to take; None when unknown."""
        return self._of(self.expert, "compute")

    @property
    def alternative_cost(self) -> float | None:
        """$ that it is expected to cost with `alternative`; None when unknown."""
        return self._of(self.alternative, "cost")

    @property
    def alternative_compute(self) -> float | None:
        """B·tokens that it is expected to take with `alternative`; None when unknown."""
        return self._of(self.alternative, "compute")

    def _of(self, expert: str | None, name: Literal["cost", "compute"]) -> float | None:
        for choice in self.ranking:
            if choice.expert == expert:
                return choice.cost if name == "cost" else choice.compute
        return None

    @property
    def sure_category(self) -> str | None:
        """The category, unless stage 1 was not sure of it."""
        return None if self.classification is Classification.UNCLASSIFIED else self.category
