"""The protocol of strategies: a policy maps what is known of a batch of requests to the next action.

Policies are pure and compare requests with nothing but themselves, so that a row's actions are the same in
any batch. How experts are asked and how answers are compared is not known here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

DIGITS = 6
"""Decimals of posteriors, expected scores and signals: single precision differs with the batch in later
ones, logarithms with the server's way of writing them."""
MAX_ROUNDS = 64
"""Rounds of asking after which a rollout takes the policy to be endless."""


@dataclass(frozen=True, slots=True)
class State:
    """What is known of n requests after S calls.

    `posterior` (n, categories); `expected` (n, experts): expected scores; `available` (n, experts): may be
    asked. By call, (n, S): `order`, the column of the asked expert, -1 for no call; `answers`, the
    equivalence class of its answer, -1 for no answer; `replied`, False for a call that failed; `signals`,
    confidence signals of the reply by name, NaN where unknown.
    """

    posterior: Floats
    expected: Floats
    available: Booleans
    order: Ints
    answers: Ints
    replied: Booleans
    signals: Mapping[str, Floats] = field(default_factory=dict)

    @classmethod
    def begin(cls, posterior: Floats, expected: Floats, available: Booleans | None = None) -> "State":
        """The state before the first call; `available` None: every expert."""
        rows = len(posterior)
        nothing = np.empty((rows, 0), dtype=np.int64)
        may = np.ones(expected.shape, dtype=np.bool_) if available is None else available
        return cls(
            np.asarray(posterior, dtype=np.float64).round(DIGITS),
            np.asarray(expected, dtype=np.float64).round(DIGITS),
            may,
            nothing,
            nothing,
            np.empty((rows, 0), dtype=np.bool_),
        )

    def __len__(self) -> int:
        return len(self.posterior)

    @property
    def calls(self) -> int:
        return int(self.order.shape[1])

    @property
    def asked(self) -> Booleans:
        """The experts asked so far, (n, experts)."""
        return columns_in(self.order, self.expected.shape[1])

    def after(
        self,
        ask: Ints,
        answers: Ints,
        replied: Booleans | None = None,
        signals: Mapping[str, Floats] | None = None,
    ) -> "State":
        """The state after the calls `ask` (n, k) with what came of them, each (n, k); `replied` None: all
        replied."""
        made = ask >= 0
        came = made if replied is None else made & replied
        new = {name: np.asarray(values).round(DIGITS) for name, values in (signals or {}).items()}
        unknown = np.full(ask.shape, np.nan)
        known = {
            name: np.concatenate(
                [self.signals.get(name, np.full(self.order.shape, np.nan)), new.get(name, unknown)], axis=1
            )
            for name in {**self.signals, **new}
        }
        return State(
            self.posterior,
            self.expected,
            self.available,
            np.concatenate([self.order, ask], axis=1),
            np.concatenate([self.answers, np.where(came, answers, -1)], axis=1),
            np.concatenate([self.replied, came], axis=1),
            known,
        )

    def take(self, rows: Ints) -> "State":
        return State(
            self.posterior[rows],
            self.expected[rows],
            self.available[rows],
            self.order[rows],
            self.answers[rows],
            self.replied[rows],
            {name: values[rows] for name, values in self.signals.items()},
        )


@dataclass(frozen=True, slots=True)
class Action:
    """What to do next for each of n requests.

    `ask` (n, k): columns of experts to ask side by side, -1 for none; a row without any is finished. `answer`
    (n,): column of the expert whose reply is the answer, -1 while asking and where nobody replied.
    `probability` (n,): that the answer, or the leading one so far, is right; `gain` (n,): expected net gain
    of asking on; both NaN where unknown.
    """

    ask: Ints
    answer: Ints
    probability: Floats
    gain: Floats

    @property
    def done(self) -> Booleans:
        return np.asarray((self.ask < 0).all(axis=1))


class StrategyPolicy(Protocol):
    """A strategy with its settings."""

    kind: ClassVar[str]

    @property
    def signals(self) -> bool:
        """Whether it reads the confidence signals of replies."""
        ...

    def act(self, state: State) -> Action:
        """The next action for each row of `state`. A row whose action asked experts must have them in
        its `order` the next time."""
        ...


class Recorded(Protocol):
    """Answers on record, for rollouts."""

    def reveal(self, state: State, rows: Ints, ask: Ints) -> tuple[Ints, Booleans, Mapping[str, Floats]]:
        """Answer classes, whether there was a reply at all, and signals of the calls `ask` (len(rows), k) for
        these rows of the record, after those of `state`."""
        ...


@dataclass(frozen=True, slots=True)
class Rollout:
    """A finished run over n requests: `order` (n, calls) of asked experts, -1 pads; `answer` (n,): column of
    the expert whose reply is the answer, -1 for none; `probability` (n,) that it is right, NaN unknown."""

    order: Ints
    answer: Ints
    probability: Floats
    experts: int

    @property
    def asked(self) -> Booleans:
        """(n, experts)"""
        return columns_in(self.order, self.experts)

    @property
    def calls(self) -> Ints:
        """(n,)"""
        return np.asarray((self.order >= 0).sum(axis=1), dtype=np.int64)


def rollout(policy: StrategyPolicy, state: State, recorded: Recorded) -> Rollout:
    """Run `policy` from `state` over recorded answers until every request is answered."""
    rows = len(state)
    answer = np.full(rows, -1, dtype=np.int64)
    probability = np.full(rows, np.nan)
    order = np.full((rows, state.expected.shape[1] + state.calls), -1, dtype=np.int64)
    open_ = np.arange(rows)
    for _ in range(MAX_ROUNDS):
        action = policy.act(state)
        done = action.done
        finished = open_[done]
        answer[finished], probability[finished] = action.answer[done], action.probability[done]
        _place(order, finished, state.order[done])
        going = np.flatnonzero(~done)
        if not len(going):
            return Rollout(_trimmed(order), answer, probability, state.expected.shape[1])
        open_, state, ask = open_[going], state.take(going), action.ask[going]
        state = state.after(ask, *recorded.reveal(state, open_, ask))
    raise RuntimeError(f"a policy of kind {policy.kind} still asks after {MAX_ROUNDS} rounds")


def settled(policy: StrategyPolicy, state: State, ask: Ints) -> bool:
    """Whether the reply to the call `ask` (1, k) of the one request in `state` is the answer whatever it
    says: then it can be shown as it comes."""
    if (ask >= 0).sum() != 1:
        return False
    # No answer, one of those given before, a new one; with no more known of its signals than nothing.
    options = np.unique(np.append(state.answers, [-1, state.answers.max(initial=-1) + 1]))
    ask = ask[ask >= 0].reshape(1, 1)
    rows = np.zeros(len(options), dtype=np.int64)
    action = policy.act(state.take(rows).after(ask[rows], options[:, None]))
    return bool((action.done & (action.answer == ask[0, 0])).all())


def columns_in(order: Ints, columns: int) -> Booleans:
    """Mask (n, columns) of the columns named in `order` (n, k); -1 names none."""
    found = np.zeros((len(order), columns), dtype=np.bool_)
    row, place = np.nonzero(order >= 0)
    found[row, order[row, place]] = True
    return found


def _place(order: Ints, rows: Ints, made: Ints) -> None:
    """Write the calls `made` (rows, k) into `order`, without gaps."""
    if not made.size:
        return
    called = made >= 0
    place = np.cumsum(called, axis=1) - 1
    row, column = np.nonzero(called)
    order[rows[row], place[row, column]] = made[row, column]


def _trimmed(order: Ints) -> Ints:
    most = int((order >= 0).sum(axis=1).max(initial=0))
    return order[:, :most]
