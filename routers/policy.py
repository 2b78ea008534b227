"""What an operator may turn without fitting again: thresholds, weights, stickiness, rules."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from base.phrases import Keywords, folded_text
from routers.conversation import latest_user_text
from routers.language import LANGUAGES, identify_language
from routers.request import Request

PATTERN_READS = 20_000
"""Characters that a pattern is given of each end of a longer turn: a bound on what it may cost."""


@dataclass(frozen=True)
class UserText:
    """What rules are matched with: the last user turn, its language found when a rule asks for it."""

    text: str

    @cached_property
    def ends(self) -> tuple[str, ...]:
        """Its first and last PATTERN_READS characters."""
        if len(self.text) <= PATTERN_READS:
            return (self.text,)
        return self.text[:PATTERN_READS], self.text[-PATTERN_READS:]

    @cached_property
    def folded(self) -> str:
        """The whole of it as keywords are looked for in it."""
        return folded_text(self.text)

    @cached_property
    def language(self) -> str | None:
        return identify_language(self.text)


@dataclass(frozen=True, slots=True)
class Rule:
    """An operator's rule: when everything it names holds, its expert or category is taken.

    `keywords` match whole words of the last user turn, ignoring case and width (any of them); where a
    script has no blanks between words they match anywhere (`base.phrases`). `pattern` is searched in the
    turn; `languages` are ISO 639-1 codes, one of which it must be written in; `attributes` must equal the
    request's (header names in lower case, `api_key`). At most one of `expert` and `category` is set. A
    rule with a `strategy` says how such a request is answered; without an expert or a category it leaves
    open by whom.

    Keywords are looked for in the whole turn; a pattern in its first and its last PATTERN_READS
    characters; the language is told by its beginning.
    """

    name: str
    keywords: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    attributes: Mapping[str, str] | None = None
    languages: tuple[str, ...] = ()
    expert: str | None = None
    category: str | None = None
    strategy: str | None = None
    _words: Keywords | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if self.expert is not None and self.category is not None:
            raise ValueError(f"rule {self.name!r}: name either an expert or a category")
        if not self.chooses and self.strategy is None:
            raise ValueError(f"rule {self.name!r}: name either an expert or a category, or a strategy")
        if not (self.keywords or self.pattern or self.attributes or self.languages):
            raise ValueError(f"rule {self.name!r}: it has no condition, so it would take every request")
        if not all(folded_text(word) for word in self.keywords):
            raise ValueError(f"rule {self.name!r}: an empty keyword would take every request")
        if unknown := sorted(set(self.languages) - LANGUAGES):
            raise ValueError(
                f"rule {self.name!r}: no language {unknown[0]!r} can be told: there are "
                f"{', '.join(sorted(LANGUAGES))}"
            )
        if self.keywords:
            object.__setattr__(self, "_words", Keywords(self.keywords))

    @property
    def chooses(self) -> bool:
        """Whether the rule names who answers, and not only how."""
        return self.expert is not None or self.category is not None

    def matches(self, request: Request, said: UserText | None = None) -> bool:
        """Whether every condition of the rule holds for `request`; `said` is its text, read already."""
        wanted = self.attributes or {}
        if any(request.attributes.get(name) != value for name, value in wanted.items()):
            return False
        said = said or UserText(latest_user_text(request.turns))
        if self._words is not None and not self._words.found_in(said.folded):
            return False
        if self.pattern is not None and not any(self.pattern.search(part) for part in said.ends):
            return False
        return not self.languages or said.language in self.languages


@dataclass(frozen=True, slots=True)
class MatchedRules:
    """Of the operator's rules that match a request: the first that names who answers (none for a request
    that is pinned: the client's own say goes first), and the first that names a strategy."""

    target: Rule | None = None
    strategy: Rule | None = None


def match_rules(rules: Sequence[Rule], request: Request) -> MatchedRules:
    """Match every rule at most once, in order, until both are found."""
    if not rules:
        return MatchedRules()
    pinned = request.pinned_expert is not None or request.pinned_category is not None
    said = UserText(latest_user_text(request.turns))
    target = strategy = None
    for rule in rules:
        targets = rule.chooses and target is None and not pinned
        names = rule.strategy is not None and strategy is None
        if (targets or names) and rule.matches(request, said):
            target, strategy = rule if targets else target, rule if names else strategy
    return MatchedRules(target, strategy)


@dataclass(frozen=True, slots=True)
class Policy:
    """How a composition's estimates become a choice.

    `threshold`: calibrated probability below which a request is uncertain, 0..1. `ood_threshold`:
    out-of-distribution score above which it is, 0..1. `generalist`: the expert that answers uncertain
    requests. `active_weight`: utility given up per billion active parameters; `cost_weight`: per $ that a
    request costs; `compute_weight`: per 1,000 B·tokens (active parameters times tokens). `alternative`: the
    expert that costs are compared with; None: the best for everything. `switch_cost`: utility that must be
    gained to leave the conversation's expert, per 1,000 tokens of conversation whose prefix cache is lost.
    `recent_turns`: user turns read. `strategy`: how many experts answer and how; `strategies`: the same for
    single categories. `trust`: how much counts what the request itself adds to its category's utilities,
    0..1, where a composition knows it. `wake_costs`: by expert, utility given up because its model is not
    kept loaded (`routers.mapping.SwitchPrice`).
    """

    generalist: str
    threshold: float = 0.5
    ood_threshold: float = 1.0
    active_weight: float = 0.0
    cost_weight: float = 0.0
    compute_weight: float = 0.0
    alternative: str | None = None
    switch_cost: float = 0.02
    recent_turns: int = 3
    strategy: str = "single"
    strategies: Mapping[str, str] = field(default_factory=dict)
    trust: float = 1.0
    wake_costs: Mapping[str, float] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        for name in ("threshold", "ood_threshold", "trust"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"policy: {name} must be within 0..1, not {getattr(self, name)!r}")
        for name in ("active_weight", "cost_weight", "compute_weight", "switch_cost"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"policy: {name} must be 0 or more, not {getattr(self, name)!r}")
        if wrong := [name for name, cost in self.wake_costs.items() if not 0 <= cost < float("inf")]:
            raise ValueError(f"policy: wake_costs of {wrong[0]} must be 0 or more")
        if self.recent_turns < 1:
            raise ValueError(f"policy: recent_turns must be 1 or more, not {self.recent_turns!r}")
