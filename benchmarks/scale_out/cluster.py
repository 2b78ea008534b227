"""Discrete events of a fleet: replicas that read prompts and decode batches, and who is sent where.

A replica reads one prompt at a time, and its answers pause meanwhile; then the batch goes on, a token for
each answer and step. Steps last by the batch and its context, so each replica counts its steps instead of
simulating them: an answer ends at a number of steps, and only arrivals, ends of prompts and ends of answers
are events. Loads are known exactly and at once. Knows nothing of routers.
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.scale_out.costs import Served
from benchmarks.scale_out.traffic import Floats, Traffic

BATCH = 256
"""Answers of a replica at once (vLLM's `max_num_seqs`)."""
SPREAD = 1.25
"""Affinity gives way when the conversation's replica has so many times the mean load, and 4 more."""
SLACK = 4
TAIL_S = 5.0
"""Before the end; a request that came later may have no first token yet for want of time."""


class Replica:
    """One model server. Times are seconds; `steps` counts decoding steps."""

    __slots__ = (
        "active", "cached", "caches", "context", "last", "model", "queue", "reading", "step_s", "steps",
        "version",
    )  # fmt: skip

    def __init__(self, model: Served) -> None:
        self.model = model
        self.queue: deque[int] = deque()
        self.active: list[tuple[float, int, int]] = []
        """Answers by the step at which they end: (step, request, tokens of context)."""
        self.reading = -1
        self.context = 0
        self.steps = 0.0
        self.step_s = 0.0
        self.last = 0.0
        self.version = 0
        self.caches: OrderedDict[int, int] = OrderedDict()
        """Tokens of KV cache that nobody uses now, by conversation or application, the longest unused
        first."""
        self.cached = 0

    @property
    def load(self) -> int:
        return len(self.active) + len(self.queue)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of the requests that arrived between `begin_s` and `TAIL_S` before `end_s`."""

    first_token_s: Floats
    """Seconds from a request's arrival; infinity for those that had none at the end."""
    token_s: Floats
    """Mean seconds between two tokens, of those that ended."""
    tokens_s: float
    """Tokens of answers that ended, a second."""
    read_again: float
    """Share of all prompt tokens that were read though earlier turns of the conversation had brought them."""

    def first(self, percent: float) -> float:
        return float(np.percentile(self.first_token_s, percent, method="lower"))

    def pace(self, percent: float) -> float:
        return float(np.percentile(self.token_s, percent)) if len(self.token_s) else float("inf")


class Cluster:
    """`replicas`: of each expert. `policy` says who gets a request: `random` (a Kubernetes service), `load`
    (the fewest requests), or `affinity` (the replica of the conversation's last turn, unless it has too
    many)."""

    def __init__(self, replicas: Sequence[Sequence[Replica]], policy: str, seed: int = 0) -> None:
        self._replicas = replicas
        self._begin_s, self._repeated, self._prompts, self._system = 0.0, 0, 0, 0
        self._random = np.random.default_rng(seed)
        self._homes: dict[int, Replica] = {}
        self._choose = {"random": self._at_random, "load": self._by_load, "affinity": self._by_affinity}[
            policy
        ]
        self._events: list[tuple[float, int, int, Replica]] = []
        self._order = 0

    def run(self, requests: Traffic, begin_s: float, end_s: float) -> Outcome:
        """All of `requests`, until `end_s`; what came before `begin_s` only warms up."""
        self._known: list[int] = requests.known.tolist()
        self._fresh: list[int] = requests.fresh.tolist()
        self._answer = requests.answer.tolist()
        self._conversation = requests.conversation.tolist()
        self._application = requests.application.tolist()
        self._draws = self._random.random(len(requests)).tolist()
        self._system = requests.system
        self._first = np.full(len(requests), np.inf)
        self._ended = np.full(len(requests), np.inf)
        self._begin_s = begin_s
        at, experts = requests.at_s.tolist(), requests.expert.tolist()
        events = self._events
        number, count = 0, len(at)
        while True:
            arrival = at[number] if number < count else end_s
            if events and events[0][0] < arrival:
                now, _, version, replica = heapq.heappop(events)
                if now >= end_s:
                    break
                if version == replica.version:
                    self._due(replica, now)
            elif number < count and arrival < end_s:
                replicas = self._replicas[experts[number]]
                self._arrive(number, self._choose(number, replicas), arrival)
                number += 1
            else:
                break
        return self._outcome(requests, begin_s, end_s)

    # Who gets a request

    def _at_random(self, number: int, replicas: Sequence[Replica]) -> Replica:
        return replicas[int(self._draws[number] * len(replicas))]

    def _by_load(self, number: int, replicas: Sequence[Replica]) -> Replica:
        start = int(self._draws[number] * len(replicas))
        best = replicas[start]
        least = best.load
        for each in replicas:
            if each.load < least:
                best, least = each, each.load
        return best

    def _by_affinity(self, number: int, replicas: Sequence[Replica]) -> Replica:
        conversation = self._conversation[number]
        home = self._homes.get(conversation)
        if home is not None:
            mean = sum(each.load for each in replicas) / len(replicas)
            if home.load <= SPREAD * mean + SLACK:
                return home
        home = self._by_load(number, replicas)
        self._homes[conversation] = home
        return home

    # What happens

    def _arrive(self, number: int, replica: Replica, now: float) -> None:
        replica.queue.append(number)
        if replica.reading < 0:
            self._decode_until(replica, now)
            self._go_on(replica, now)

    def _due(self, replica: Replica, now: float) -> None:
        if replica.reading >= 0:
            number, replica.reading = replica.reading, -1
            self._first[number] = now
            tokens = self._answer[number]
            context = self._system + self._known[number] + self._fresh[number] + tokens // 2
            heapq.heappush(replica.active, (replica.steps + tokens - 1, number, context))
            replica.context += context
            replica.last = now
        else:
            self._decode_until(replica, now)
            _, number, context = heapq.heappop(replica.active)
            replica.context -= context
            self._ended[number] = now
            kept = self._known[number] + self._fresh[number] + self._answer[number]
            self._keep(replica, self._conversation[number], kept)
        replica.step_s = replica.model.step_s(len(replica.active), replica.context) if replica.active else 0.0
        self._go_on(replica, now)

    def _decode_until(self, replica: Replica, now: float) -> None:
        if replica.active:
            replica.steps += (now - replica.last) / replica.step_s
        replica.last = now

    def _go_on(self, replica: Replica, now: float) -> None:
        """Reads the next prompt if there is room for it, else decodes to the next end of an answer."""
        if replica.queue and len(replica.active) < BATCH:
            number = replica.queue[0]
            prompt = self._system + self._known[number] + self._fresh[number]
            room = replica.model.cache_tokens - replica.context
            if prompt + self._answer[number] <= room or not replica.active:
                replica.queue.popleft()
                unread = self._unread(replica, number, now)
                seconds = unread / replica.model.prompt_tokens_s
                replica.reading = number
                if now >= self._begin_s:
                    self._prompts += prompt
                self._schedule(replica, now + seconds)
                return
        if replica.active:
            left = max(0.0, replica.active[0][0] - replica.steps)
            self._schedule(replica, now + left * replica.step_s)

    def _schedule(self, replica: Replica, at: float) -> None:
        replica.version += 1
        self._order += 1
        heapq.heappush(self._events, (at, self._order, replica.version, replica))

    # Prefix caches

    def _unread(self, replica: Replica, number: int, now: float) -> int:
        """Prompt tokens that the replica's cache does not have. The conversation's are taken out of it
        while it is answered: they count as context then."""
        held = replica.caches.pop(self._conversation[number], 0)
        replica.cached -= held
        again = max(0, self._known[number] - held)
        if now >= self._begin_s:
            self._repeated += again
        application = -1 - self._application[number]
        if application in replica.caches:
            replica.caches.move_to_end(application)
            return self._fresh[number] + again
        self._keep(replica, application, self._system)
        return self._fresh[number] + again + self._system

    def _keep(self, replica: Replica, key: int, tokens: int) -> None:
        replica.caches[key] = tokens
        replica.cached += tokens
        room = replica.model.cache_tokens - replica.context
        while replica.cached > room and replica.caches:
            replica.cached -= replica.caches.popitem(last=False)[1]

    def _outcome(self, requests: Traffic, begin_s: float, end_s: float) -> Outcome:
        counted = (requests.at_s >= begin_s) & (requests.at_s < end_s - TAIL_S)
        ended = np.isfinite(self._ended)
        paced = ended & counted
        seconds = end_s - begin_s
        return Outcome(
            self._first[counted] - requests.at_s[counted],
            (self._ended[paced] - self._first[paced]) / (requests.answer[paced] - 1),
            float(requests.answer[ended & (self._ended >= begin_s)].sum() / seconds),
            self._repeated / max(1, self._prompts),
        )
