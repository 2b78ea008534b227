"""What tokens cost, in US dollars. Prices are in $ per million tokens, as providers publish them."""

from typing import Protocol

from base.usage import TokenUsage


class TokenPrice(Protocol):
    """$ per million tokens of the prompt, of what a prefix cache held of it, and of the answer; None
    unknown, of cached tokens: as much as the others."""

    @property
    def input(self) -> float | None: ...

    @property
    def cached_input(self) -> float | None: ...

    @property
    def output(self) -> float | None: ...


def token_cost(price: TokenPrice, prompt: float, completion: float, *, cached: float = 0) -> float | None:
    """$ of `prompt` and `completion` tokens, `cached` of the prompt read from a cache; None when a price is
    unknown."""
    if price.input is None or price.output is None:
        return None
    cached_price = price.input if price.cached_input is None else price.cached_input
    return ((prompt - cached) * price.input + cached * cached_price + completion * price.output) / 1e6


def usage_cost(price: TokenPrice, usage: TokenUsage) -> float | None:
    """$ of one answer, None unless its tokens and prices are known."""
    return None if usage.both is None else token_cost(price, *usage.both, cached=usage.cached or 0)
