"""What an operator may turn without fitting again: thresholds, weights, stickiness, rules."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from routers.conversation import latest_user_text
from routers.request import Request


@dataclass(frozen=True, slots=True)
class Rule:
    """An operator's rule: when everything it names holds, its expert or category is taken.

    `keywords` match whole words of the last user turn, ignoring case (any of them); `pattern` is
    searched in it; `attributes` must equal the request's (header names in lower case, `api_key`).
    Exactly one of `expert` and `category` is set.
    """

    name: str
    keywords: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    attributes: Mapping[str, str] | None = None
    expert: str | None = None
    category: str | None = None

    def __post_init__(self) -> None:
        if (self.expert is None) == (self.category is None):
            raise ValueError(f"rule {self.name!r}: name either an expert or a category")
        if not (self.keywords or self.pattern or self.attributes):
            raise ValueError(f"rule {self.name!r}: it has no condition, so it would take every request")
        if not all(word.strip() for word in self.keywords):
            raise ValueError(f"rule {self.name!r}: an empty keyword would take every request")

    def matches(self, request: Request) -> bool:
        """Whether every condition of the rule holds for `request`."""
        text = latest_user_text(request.turns)
        if self.keywords:
            words = "|".join(re.escape(word) for word in self.keywords)
            if not re.search(rf"(?<!\w)(?:{words})(?!\w)", text, re.IGNORECASE):
                return False
        if self.pattern is not None and not self.pattern.search(text):
            return False
        wanted = self.attributes or {}
        return all(request.attributes.get(name) == value for name, value in wanted.items())


@dataclass(frozen=True, slots=True)
class Policy:
    """How a composition's estimates become a choice.

    `threshold`: calibrated probability below which a request is uncertain, 0..1.
    `ood_threshold`: out-of-distribution score above which it is, 0..1.
    `generalist`: the expert that answers uncertain requests.
    `active_weight`: utility given up per billion active parameters; `price_weight`: per $ and
    million tokens. `switch_cost`: utility that must be gained to leave the conversation's expert,
    per 1,000 tokens of conversation whose prefix cache is lost. `recent_turns`: user turns read.
    """

    generalist: str
    threshold: float = 0.5
    ood_threshold: float = 1.0
    active_weight: float = 0.0
    price_weight: float = 0.0
    switch_cost: float = 0.02
    recent_turns: int = 3
    strategy: str = "single"
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        for name in ("threshold", "ood_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"policy: {name} must be within 0..1, not {getattr(self, name)!r}")
        for name in ("active_weight", "price_weight", "switch_cost"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"policy: {name} must be 0 or more, not {getattr(self, name)!r}")
        if self.recent_turns < 1:
            raise ValueError(f"policy: recent_turns must be 1 or more, not {self.recent_turns!r}")
