"""Requests of conversations, as arrays: when, for which expert, how long. Knows no servers."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Shape:
    """What conversations are like. A turn's prompt repeats the system prompt and all that was said."""

    turns: float = 3.0
    """Mean of a geometric distribution."""
    pause_s: float = 10.0
    """Mean between an answer and the next turn, exponential."""
    token_s: float = 0.03
    """How long an answer is reckoned to take, a token: the next turn does not come sooner."""
    system: int = 300
    turn: float = 150.0
    """Mean new tokens of a turn; exponential, at least 8."""
    answer: float = 211.0
    """Mean tokens of an answer; exponential, at least 8."""
    applications: int = 200
    """System prompts that conversations share."""
    skew: float = 1.0
    """Experts are asked by Zipf's law with this exponent."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests by rising time. `known`: prompt tokens that earlier turns of the conversation brought;
    `fresh`: new ones; the prompt is `system + known + fresh`."""

    at_s: Floats
    expert: Integers
    conversation: Integers
    application: Integers
    known: Integers
    fresh: Integers
    answer: Integers
    system: int

    def __len__(self) -> int:
        return len(self.at_s)


def shares(experts: int, skew: float) -> Floats:
    """Each expert's share of the requests, most asked first."""
    weights = 1.0 / np.arange(1, experts + 1) ** skew
    return np.asarray(weights / weights.sum())


def traffic(rate: float, seconds: float, experts: int, shape: Shape, seed: int = 0) -> Traffic:
    """Poisson conversations that together ask `rate` requests a second, from 0 to `seconds`. Conversations
    that began before are there too, with their history, which no server has yet."""
    random = np.random.default_rng(seed)
    before = (shape.pause_s + shape.token_s * shape.answer) * shape.turns * 4
    conversations = random.poisson(rate / shape.turns * (seconds + before))
    begun = random.uniform(-before, seconds, conversations)
    turns = random.geometric(1 / shape.turns, conversations)
    owner = np.repeat(np.arange(conversations), turns)
    first = np.cumsum(turns) - turns
    fresh = np.maximum(8, random.exponential(shape.turn, len(owner))).astype(np.int64)
    answer = np.maximum(8, random.exponential(shape.answer, len(owner))).astype(np.int64)
    pauses = random.exponential(shape.pause_s, len(owner)) + shape.token_s * np.roll(answer, 1)
    pauses[first] = 0.0
    at = begun[owner] + _since_first(pauses, first, turns)
    known = (_since_first(fresh + answer, first, turns) - (fresh + answer)).astype(np.int64)
    expert = random.choice(experts, conversations, p=shares(experts, shape.skew))[owner]
    application = random.integers(0, shape.applications, conversations)[owner]
    inside = np.flatnonzero((at >= 0) & (at < seconds))
    order = inside[np.argsort(at[inside], kind="stable")]
    return Traffic(
        at[order],
        expert[order],
        owner[order],
        application[order],
        known[order],
        fresh[order],
        answer[order],
        shape.system,
    )


def _since_first(values: npt.NDArray[np.generic], first: Integers, turns: Integers) -> Floats:
    """Sums within each conversation, the present turn's value included."""
    total = np.cumsum(values.astype(np.float64))
    return total - np.repeat(total[first] - values[first].astype(np.float64), turns)
