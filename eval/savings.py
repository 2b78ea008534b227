"""What routing saved: what the answers of a period did cost, against one fixed expert for all of them.

The alternative is given every advantage: it would have kept each conversation, so its prefix cache would
have held what earlier requests of the conversation had; and it would have had no shadow traffic. Its
answers are as long as the composition expects of it. Only requests of which both sides are known are
compared; the others are counted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from base.prices import TokenPrice, token_cost
from base.usage import TokenUsage
from client import ExpertInfo
from eval.traffic import Logged


@dataclass(frozen=True, slots=True)
class Spending:
    """`actual` and `alternative` of the compared requests; `cache_loss`: what of `actual` was read again
    because a conversation changed its expert; `shadows`: spent on shadow answers, not in `actual`."""

    actual: float
    alternative: float
    cache_loss: float | None
    shadows: float | None

    @property
    def saved(self) -> float:
        """Alternative less actual and shadows."""
        return self.alternative - self.actual - (self.shadows or 0.0)

    @property
    def share(self) -> float | None:
        """What was saved of the alternative; None when that costs nothing."""
        return self.saved / self.alternative if self.alternative else None


@dataclass(frozen=True, slots=True)
class Savings:
    """`dollars`, and `compute` in B·tokens; None when no request is known on both sides."""

    since: datetime | None
    until: datetime | None
    requests: int
    alternative: str
    dollars: Spending | None
    compared_dollars: int
    compute: Spending | None
    compared_compute: int
    left_out: Mapping[str, int]

    def document(self) -> dict[str, Any]:
        """For JSON; times in ISO 8601."""
        found = asdict(self)
        for name in ("dollars", "compute"):
            spending: Spending | None = getattr(self, name)
            if spending is not None:
                found[name] |= {"saved": spending.saved, "share": spending.share}
        for name in ("since", "until"):
            moment: datetime | None = getattr(self, name)
            found[name] = None if moment is None else moment.isoformat()
        return found


def savings(log: Sequence[Logged], experts: Sequence[ExpertInfo], alternative: str) -> Savings:
    """Compare the answered requests of `log` with `alternative`, by the prices and sizes of `experts`.
    Raises KeyError when it is none of them."""
    by_name = {each.name: each for each in experts}
    fixed = by_name[alternative]
    why = Counter[str]()
    dollars = _Sums()
    compute = _Sums()
    times = [each.created_at for each in log if each.created_at is not None]
    for each in log:
        why.update(_compare(each, fixed, by_name, dollars, compute))
    return Savings(
        min(times, default=None),
        max(times, default=None),
        len(log),
        alternative,
        dollars.spending(),
        dollars.count,
        compute.spending(),
        compute.count,
        dict(why),
    )


def _compare(
    each: Logged,
    fixed: ExpertInfo,
    by_name: Mapping[str, ExpertInfo],
    dollars: "_Sums",
    compute: "_Sums",
) -> list[str]:
    """Add one request; why it is left out, if it is."""
    if each.status != "ok":
        return ["not answered"]
    usage = TokenUsage.of(each.usage)
    if usage.both is None or each.compute is None:
        return ["the expert told no tokens"]
    expected = next((choice.tokens_out for choice in each.ranking if choice.expert == fixed.name), None)
    if expected is None and each.expert != fixed.name:
        return [f"nothing is known of the tokens that {fixed.name} takes"]
    prompt, completion = usage.both
    calls = (each.usage or {}).get("calls") or ()
    if len(calls) > 1:  # several experts read the prompt, which the alternative would have read once
        prompt //= len(calls)
    written = completion if each.expert == fixed.name else float(expected or 0.0)
    repeated = prompt * (each.repeated_share or 0.0)
    size = fixed.active_params_b or fixed.params_b
    if size is not None:
        compute.add(each.compute, (prompt + written) * size)
    _add_shadows(each, by_name, dollars, compute)
    other = token_cost(fixed.price, prompt, written, cached=repeated)
    if each.cost is None or other is None:
        return [f"dollars: no price is known of {fixed.name if other is None else each.expert}"]
    dollars.add(each.cost, other)
    if (asked := by_name.get(each.expert)) is not None and usage.cached is not None:
        dollars.lose(_cache_loss(asked.price, max(0.0, repeated - usage.cached)))
    return []


def _add_shadows(each: Logged, by_name: Mapping[str, ExpertInfo], dollars: "_Sums", compute: "_Sums") -> None:
    for shadow in each.shadows:
        expert = by_name.get(shadow.expert)
        if shadow.status != "ok" or expert is None:
            continue
        dollars.shadow(None if expert.price.input is None else shadow.price)
        size = expert.active_params_b or expert.params_b
        compute.shadow(None if size is None or shadow.tokens is None else shadow.tokens * size)


def _cache_loss(price: TokenPrice, tokens: float) -> float | None:
    """What reading `tokens` again costs more than a cache that held them."""
    again = token_cost(price, tokens, 0)
    held = token_cost(price, tokens, 0, cached=tokens)
    return None if again is None or held is None else again - held


class _Sums:
    def __init__(self) -> None:
        self.count = 0
        self._actual = self._alternative = 0.0
        self._lost: float | None = None
        self._shadows: float | None = None

    def add(self, actual: float, alternative: float) -> None:
        self.count += 1
        self._actual += actual
        self._alternative += alternative

    def lose(self, amount: float | None) -> None:
        if amount is not None:
            self._lost = (self._lost or 0.0) + amount

    def shadow(self, amount: float | None) -> None:
        if amount is not None:
            self._shadows = (self._shadows or 0.0) + amount

    def spending(self) -> Spending | None:
        if not self.count:
            return None
        return Spending(self._actual, self._alternative, self._lost, self._shadows)
