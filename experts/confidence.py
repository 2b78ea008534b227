"""Confidence signals of an answer from its token log-probabilities (OpenAI's `logprobs`), after DeepConf
(arXiv 2508.15260). All signals are bounded, so that a stream's final values can be bounded early."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FLOOR = -5.0
"""Log-probabilities are clipped to this (nats)."""
TAIL = 0.1
"""Share of the least probable tokens in the tail (at least one token)."""
ALTERNATIVES = 5
"""`top_logprobs` to request; the entropy is over these and the remaining mass."""
MOST_ENTROPY = math.log(ALTERNATIVES + 1)


@dataclass(frozen=True, slots=True)
class Token:
    """Log-probability (FLOOR..0) and entropy of the alternatives (0..MOST_ENTROPY, None if not reported) of a
    token, in nats."""

    logprob: float
    entropy: float | None = None


CERTAIN = Token(0.0, 0.0)
HOPELESS = Token(FLOOR, MOST_ENTROPY)


@dataclass(frozen=True, slots=True)
class Signals:
    """`mean` log-probability, and of the lowest TAIL of the tokens (`tail`), both FLOOR..0; `dispersion`:
    mean entropy (0..MOST_ENTROPY); `agreement`: share of further samples with the same answer (0..1);
    `verifier`: a second model's verdict (0..1). None: unknown."""

    mean: float | None = None
    tail: float | None = None
    dispersion: float | None = None
    agreement: float | None = None
    verifier: float | None = None


NAMES = ("mean", "tail", "dispersion", "agreement", "verifier")
"""The signals; higher is better except for dispersion."""


def read_tokens(logprobs: Any) -> list[Token]:
    """The tokens in a choice's `logprobs` (`{"content": [{"logprob", "top_logprobs"}]}`); empty if
    invalid."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list):
        return []
    return [token for each in content if (token := _token(each)) is not None]


def _token(entry: Any) -> Token | None:
    value = entry.get("logprob") if isinstance(entry, dict) else None
    if not isinstance(value, int | float) or math.isnan(value):
        return None
    return Token(min(0.0, max(FLOOR, float(value))), _entropy(entry.get("top_logprobs")))


def _entropy(alternatives: Any) -> float | None:
    """Entropy over the most probable ALTERNATIVES and the remaining mass."""
    if not isinstance(alternatives, list) or len(alternatives) < 2:
        return None
    values = [each.get("logprob") for each in alternatives if isinstance(each, dict)]
    numbers = sorted((float(v) for v in values if isinstance(v, int | float) and v <= 0), reverse=True)
    shares = [math.exp(value) for value in numbers[:ALTERNATIVES]]
    shares.append(max(0.0, 1.0 - sum(shares)))
    entropy = -sum(share * math.log(share) for share in shares if share > 0)
    return min(MOST_ENTROPY, max(0.0, entropy))


def signals_of(tokens: Sequence[Token]) -> Signals:
    """The signals of a complete answer."""
    return _padded(tokens, len(tokens), CERTAIN)


def bounds_of(tokens: Sequence[Token], window: int) -> tuple[Signals, Signals]:
    """The worst and best signals possible over `window` tokens, given the first ones."""
    read = tokens[:window]
    return _padded(read, window, HOPELESS), _padded(read, window, CERTAIN)


def _padded(tokens: Sequence[Token], length: int, filling: Token) -> Signals:
    """The signals of `tokens` padded with `filling` to `length`; called per streamed token."""
    if not length:
        return Signals()
    values = sorted(token.logprob for token in tokens)
    missing = length - len(values)
    count = max(1, math.ceil(TAIL * length))
    # The filling sorts before or after all tokens.
    first = min(count, missing) if filling is HOPELESS else 0
    own = values[: count - first]
    last = count - first - len(own)
    entropies = [token.entropy for token in tokens if token.entropy is not None]
    dispersion = None
    if len(entropies) == len(values):
        dispersion = (sum(entropies) + missing * (filling.entropy or 0.0)) / length
    return Signals(
        mean=(sum(values) + missing * filling.logprob) / length,
        tail=(sum(own) + (first + last) * filling.logprob) / count,
        dispersion=dispersion,
    )
