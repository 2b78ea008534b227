"""What tokens cost, in US dollars. Prices are in $ per million tokens, as providers publish them."""

from typing import Protocol

from base.usage import TokenUsage


class TokenPrice(Protocol):
    """$ per million tokens of the prompt and of the answer."""

    @property
    def input(self) -> float: ...

    @property
    def output(self) -> float: ...


def token_cost(
    price: TokenPrice, prompt: int, completion: int, *, cached: int = 0, cached_price: float | None = None
) -> float:
    """$ of `prompt` and `completion` tokens. `cached` of the prompt's cost `cached_price` per million;
    None: as much as the others."""
    cached_price = price.input if cached_price is None else cached_price
    return ((prompt - cached) * price.input + cached * cached_price + completion * price.output) / 1e6


def usage_cost(price: TokenPrice, usage: TokenUsage, *, cached_price: float | None = None) -> float | None:
    """$ of one answer, None unless its tokens are known."""
    if usage.both is None:
        return None
    return token_cost(price, *usage.both, cached=usage.cached or 0, cached_price=cached_price)
