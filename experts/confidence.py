"""How sure a model was of its own words: from the log-probabilities that came with them, to a few numbers.

Reads OpenAI's `logprobs` of a choice, whole or streamed. Every number is bounded, so that somebody who
reads a stream can say what the rest of it could still change. Knows nothing of what is done with them.

Mean and tail follow the confidence measures of DeepConf (arXiv 2508.15260), which found the worst part of
an answer to tell more than its average.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FLOOR = -5.0
"""Log-probabilities below are counted as this (nats): one odd name must not outweigh a page."""
TAIL = 0.1
"""The share of the tokens that makes the tail: the least probable ones, at least one."""
ALTERNATIVES = 5
"""`top_logprobs` to ask for; the entropy is over these and all others together."""
MOST_ENTROPY = math.log(ALTERNATIVES + 1)


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer: its log-probability, FLOOR..0, and the entropy of what could have stood in
    its place, 0..MOST_ENTROPY, None when no alternatives were reported. Both in nats."""

    logprob: float
    entropy: float | None = None


CERTAIN = Token(0.0, 0.0)
HOPELESS = Token(FLOOR, MOST_ENTROPY)


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of an answer's soundness.

    `mean`: of the tokens' log-probabilities; `tail`: of the lowest TAIL of them (both FLOOR..0);
    `dispersion`: mean entropy of the alternatives (0..MOST_ENTROPY); `agreement`: share of further short
    samples that give the same answer (0..1); `verifier`: a second model's verdict (0..1). None: not known.
    """

    mean: float | None = None
    tail: float | None = None
    dispersion: float | None = None
    agreement: float | None = None
    verifier: float | None = None


NAMES = ("mean", "tail", "dispersion", "agreement", "verifier")
"""The signals in their order; for all but dispersion more is better."""


def read_tokens(logprobs: Any) -> list[Token]:
    """The tokens in a choice's `logprobs` (`{"content": [{"logprob", "top_logprobs"}]}`); empty when there
    are none or they cannot be read."""
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
    """Of the most probable ALTERNATIVES and the rest as one more."""
    if not isinstance(alternatives, list) or len(alternatives) < 2:
        return None
    values = [each.get("logprob") for each in alternatives if isinstance(each, dict)]
    numbers = sorted((float(v) for v in values if isinstance(v, int | float) and v <= 0), reverse=True)
    shares = [math.exp(value) for value in numbers[:ALTERNATIVES]]
    shares.append(max(0.0, 1.0 - sum(shares)))
    entropy = -sum(share * math.log(share) for share in shares if share > 0)
    return min(MOST_ENTROPY, max(0.0, entropy))


def signals_of(tokens: Sequence[Token]) -> Signals:
    """What the tokens alone tell; nothing of an answer without any."""
    return _padded(tokens, len(tokens), CERTAIN)


def bounds_of(tokens: Sequence[Token], window: int) -> tuple[Signals, Signals]:
    """The worst and the best signals that an answer which began like this can still have, when no more
    than its first `window` tokens are read."""
    read = tokens[:window]
    return _padded(read, window, HOPELESS), _padded(read, window, CERTAIN)


def _padded(tokens: Sequence[Token], length: int, filling: Token) -> Signals:
    """The signals of `tokens` and as many of `filling` as make `length`. Read for every token that
    streams, so nothing is built that is only to be summed."""
    if not length:
        return Signals()
    values = sorted(token.logprob for token in tokens)
    missing = length - len(values)
    count = max(1, math.ceil(TAIL * length))
    # The filling is the lowest value there is, or the highest: it comes before all others or after them.
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
