"""Confidence signals of an answer from its token log-probabilities (OpenAI's `logprobs`), after DeepConf
(arXiv 2508.15260)."""

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


@dataclass(frozen=True, slots=True)
class Signals:
    """`mean` log-probability, and of the lowest TAIL of the tokens (`tail`), both FLOOR..0; `dispersion`:
    mean entropy (0..MOST_ENTROPY). Higher is better except for dispersion. None: unknown."""

    mean: float | None = None
    tail: float | None = None
    dispersion: float | None = None


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
    if not tokens:
        return Signals()
    values = sorted(token.logprob for token in tokens)
    worst = values[: max(1, math.ceil(TAIL * len(values)))]
    entropies = [token.entropy for token in tokens if token.entropy is not None]
    return Signals(
        mean=sum(values) / len(values),
        tail=sum(worst) / len(worst),
        dispersion=sum(entropies) / len(values) if len(entropies) == len(values) else None,
    )
