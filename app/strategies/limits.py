"""What one request may cost at most: calls, tokens, time, money; and the account that holds it to that.

Every call is booked before it is made, at the most it can cost, and settled afterwards at what it did
cost. So calls that run side by side cannot overdraw the account together.
"""

import time
from dataclasses import dataclass, field

from app.serving.prompt_budget import context_left
from base.prices import token_cost
from experts.expert import Expert
from experts.token_counter import MIN_ANSWER_TOKENS


class LimitReached(Exception):
    """A call was not made, or was stopped, since the request may cost no more. `kind` names the limit."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Bounds on one request: calls to experts, tokens of prompts and answers together, seconds from the
    strategy's start, and US dollars (None: any)."""

    calls: int
    tokens: int
    seconds: float
    cost: float | None = None

    def tightened(
        self,
        calls: int | None = None,
        tokens: int | None = None,
        seconds: float | None = None,
        cost: float | None = None,
    ) -> "RequestLimits":
        """The lower of these limits and a client's own."""
        return RequestLimits(
            calls=min(self.calls, calls or self.calls),
            tokens=min(self.tokens, tokens or self.tokens),
            seconds=min(self.seconds, seconds or self.seconds),
            cost=self.cost if cost is None else cost if self.cost is None else min(cost, self.cost),
        )


@dataclass(slots=True)
class Booking:
    """What one call has set aside: tokens of its prompt (an estimate) and of each of `samples` answers (a
    bound), and dollars. `bounded`: the call has to ask for no longer an answer; else the context alone bounds
    it. `before`: a call that has to be made before it, to write the expert's identity for the request."""

    expert: Expert
    prompt_tokens: int
    answer_tokens: int
    cost: float
    bounded: bool = True
    before: "Booking | None" = None
    samples: int = 1

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.answer_tokens * self.samples


@dataclass(slots=True)
class Account:
    """One request's spending under its limits."""

    limits: RequestLimits
    started: float = field(default_factory=time.perf_counter)
    calls: int = 0
    tokens: int = 0
    """Settled and booked ones."""
    cost: float = 0.0

    @property
    def seconds_left(self) -> float:
        return self.limits.seconds - (time.perf_counter() - self.started)

    @property
    def tokens_left(self) -> int:
        return self.limits.tokens - self.tokens

    @property
    def calls_left(self) -> int:
        return self.limits.calls - self.calls

    def book(
        self,
        expert: Expert,
        prompt_tokens: int,
        wanted: int | None,
        share: int | None = None,
        *,
        least: int = MIN_ANSWER_TOKENS,
        samples: int = 1,
    ) -> Booking:
        """Set aside a call of `prompt_tokens` for `samples` answers that may have `wanted` tokens each (None:
        what the expert's context leaves), all together at most `share`. An answer is cut to what is left,
        but not below `least`. Raises LimitReached."""
        if self.calls_left < 1:
            raise LimitReached("calls", f"the request has used its {self.limits.calls} calls")
        if self.seconds_left <= 0:
            raise LimitReached("seconds", f"the request has used its {self.limits.seconds:g} s")
        room = context_left(expert, prompt_tokens)
        asked = min(wanted or room, room)
        left = self.tokens_left if share is None else min(self.tokens_left, share)
        tokens = (left - prompt_tokens) // samples
        affordable = self._affordable(expert, prompt_tokens)
        affordable = None if affordable is None else affordable // samples
        answer = min(asked, tokens, asked if affordable is None else affordable)
        if answer < min(asked, least):
            kind = "cost" if affordable is not None and affordable < tokens else "tokens"
            raise LimitReached(kind, f"what is left of the request's {kind} does not pay for {expert.name}")
        # An answer that nobody bounds takes what the prompt leaves of the context, which is more the more
        # the prompt was overestimated. Their tokens stay within the context; dollars must do for any share.
        whole = expert.context_length
        bounded = wanted is not None or answer < room or (affordable is not None and affordable < whole)
        cost = token_cost(expert.price, prompt_tokens, (answer if bounded else whole) * samples) or 0.0
        booking = Booking(expert, prompt_tokens, answer, cost, bounded, samples=samples)
        self.calls += 1
        self.tokens += booking.tokens
        self.cost += cost
        return booking

    def _affordable(self, expert: Expert, prompt_tokens: int) -> int | None:
        """Tokens of answer that what is left of the money pays for; None: any number."""
        if self.limits.cost is None:
            return None
        left = self.limits.cost - self.cost - (token_cost(expert.price, prompt_tokens, 0) or 0.0)
        if left < 0:
            return -1
        return int(left * 1e6 / expert.price.output) if expert.price.output else None

    def settle(self, booking: Booking, prompt_tokens: int, answer_tokens: int) -> None:
        """Put what the call did use in the place of what was set aside."""
        self.tokens += prompt_tokens + answer_tokens - booking.tokens
        self.cost += (token_cost(booking.expert.price, prompt_tokens, answer_tokens) or 0.0) - booking.cost

    def give_back(self, booking: Booking) -> None:
        """The call was not made after all."""
        self.settle(booking, 0, 0)
        self.calls -= 1
