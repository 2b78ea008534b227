"""What is known of the replicas of an expert now, and which of them a request goes to.

Belongs to one event loop. Experts behind the same servers (prompt experts, adapters of one base) share a
pool: the load is the servers'; circuits are kept for each model, as one may fail where another answers.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from experts.circuit import Circuit, HealthSettings, is_failure
from experts.errors import ExpertError
from experts.expert import Expert
from experts.replicas.choice import Bools, Floats, Standing, choose, costs, replica_seeds
from experts.replicas.ejection import SAMPLES, outliers
from experts.replicas.prefix_record import PrefixRecord
from experts.replicas.prompt_blocks import BLOCK_BYTES
from experts.replicas.server_metrics import ServerLoad

DECAY = 0.9
"""Of rates and means, with each request."""
JUDGED_EVERY = 8
"""Requests between two looks for outliers."""
BYTES_PER_TOKEN = 4
MOST_HEDGES = 10.0
"""In a burst."""
STALE_S = 15.0
"""A server's report of its load counts for so long."""


def replica_id(endpoint: str) -> str:
    """What a replica is called where addresses are not shown; it stays when the order of the registry
    changes."""
    return hashlib.blake2b(endpoint.encode(), digest_size=4).hexdigest()


@dataclass(slots=True)
class Asked:
    """A request as the choice sees it. `session`: 64 bits that its conversation shares; `replica`
    (`replica_id`) has the conversation and has read `share` (0..1) of the prompt; `held`: nobody else can go
    on with it. `tried`: numbers of replicas that it was sent to."""

    model: str
    blocks: tuple[int, ...] = ()
    session: int = 0
    replica: str | None = None
    share: float = 0.0
    held: bool = False
    tried: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Sent:
    """A request at a replica: `unread` blocks are counted there until it begins; `cost` as it was chosen
    by."""

    number: int
    unread: float
    cost: float
    at: float
    begun: bool = False


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """A replica as operators see it. `in_flight`: requests of this process; `running`, `waiting` and
    `kv_usage` as the server last reported them, 0 where it does not; `failure_rate`: of the last ten requests
    or so."""

    id: str
    number: int
    usable: bool
    ejected: bool
    in_flight: int
    running: float
    waiting: float
    kv_usage: float
    failure_rate: float
    detail: str


class HedgeBudget:
    """Hedged requests are no more than their share of all, nor many at once."""

    def __init__(self) -> None:
        self._credit = 0.0

    def request(self, share: float) -> None:
        """A request that may be hedged came."""
        self._credit = min(MOST_HEDGES, self._credit + share)

    def take(self) -> bool:
        if self._credit < 1 - 1e-9:
            return False
        self._credit -= 1
        return True


class ReplicaPool:
    """Replicas are numbered from 0, in the registry's order."""

    def __init__(
        self,
        expert: Expert,
        settings: HealthSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoints = expert.endpoints
        self.ids = tuple(replica_id(each) for each in self.endpoints)
        self.settings = settings or HealthSettings()
        self._clock = clock
        n = len(self.endpoints)
        self._numbers = {endpoint: number for number, endpoint in enumerate(self.endpoints)}
        self._seeds = replica_seeds(self.endpoints)
        self._record = PrefixRecord(n)
        self._circuits: dict[str, list[Circuit]] = {}
        self._open_until: dict[str, Floats] = {}
        self._checked: list[ExpertError | None] = [None] * n
        self._up: Bools = np.ones(n, np.bool_)
        """False where the last check failed."""
        self._served: list[frozenset[str]] = [frozenset()] * n
        self._serving: dict[str, Bools] = {}
        """Where a model is served, by model; servers that list nothing serve all."""
        self._loads = [ServerLoad()] * n
        self._told_at: Floats = np.zeros(n)
        self._stale_at = 0.0
        """When old reports are looked for next."""
        self._nowhere: Bools = np.zeros(n, np.bool_)
        self._adapters: frozenset[str] = frozenset()
        self.in_flight: Floats = np.zeros(n)
        self._reading: Floats = np.zeros(n)
        self._answering: Floats = np.zeros(n)
        self._others: Floats = np.zeros(n)
        self._usage: Floats = np.zeros(n)
        self._mean = 4.0
        self._failures: Floats = np.zeros(n)
        self._pace: Floats = np.full(n, np.nan)
        """Seconds to the first token for each block of cost."""
        self._samples: Floats = np.zeros(n)
        self._ejected_until: Floats = np.zeros(n)
        self._reports = 0
        self.hedges = HedgeBudget()

    def __len__(self) -> int:
        return len(self.endpoints)

    def number(self, endpoint: str) -> int:
        return self._numbers[endpoint]

    def usable(self, model: str) -> Bools:
        """Where requests for `model` may go: neither down, nor asking to wait, nor ejected."""
        now = self._clock()
        usable = self._up & (self._ejected_until <= now)
        if (until := self._open_until.get(model)) is not None:
            usable &= until <= now
        if (serving := self._serving.get(model)) is None:
            listed = [not served or model in served for served in self._served]
            serving = self._serving[model] = np.array(listed, np.bool_)
        return usable & serving

    def pick(self, asked: Asked, free: Bools) -> Sent | None:
        """Send a request to the best replica with a free place, and count it there; None where it has to
        wait. When nobody seems usable all are asked: what is known may be old."""
        usable = self.usable(asked.model)
        if asked.tried:
            usable[list(asked.tried)] = False
        if not usable.any():
            usable = np.ones(len(self), np.bool_)
            if asked.tried:
                usable[list(asked.tried)] = False
        own = self.ids.index(asked.replica) if asked.replica in self.ids else None
        if asked.held and own is not None:
            usable = np.zeros(len(self), np.bool_)
            usable[own] = True
        blocks, matched = len(asked.blocks), self._record.matched(asked.blocks)
        if own is not None:
            matched[own] = max(matched[own], float(int(asked.share * blocks)))
        cost = costs(blocks, matched, self._standing(asked.model))
        number = choose(cost, usable & free, asked.session, self._seeds)
        if number is None:
            return None
        sent = Sent(number, max(1.0, blocks - float(matched[number])), float(cost[number]), self._clock())
        self.in_flight[number] += 1
        self._reading[number] += sent.unread
        self._mean = DECAY * self._mean + (1 - DECAY) * sent.unread
        self._record.note(number, asked.blocks)
        return sent

    def began(self, sent: Sent, model: str, *, first_token: bool) -> None:
        """It is answered; `first_token`: just now the first of its tokens came, else all of them."""
        if not sent.begun:
            sent.begun = True
            self._reading[sent.number] -= sent.unread
            self._answering[sent.number] += 1
        circuit = self._circuit(sent.number, model)
        circuit.reached() if first_token else circuit.succeeded()
        self._note_circuit(sent.number, model)
        if first_token:
            pace = (self._clock() - sent.at) / (1.0 + max(0.0, sent.cost))
            before = self._pace[sent.number]
            self._pace[sent.number] = pace if np.isnan(before) else DECAY * before + (1 - DECAY) * pace
        self._report(sent.number, failed=False)

    def succeeded(self, sent: Sent, model: str) -> None:
        """Its answer is whole."""
        self._circuit(sent.number, model).succeeded()
        self._note_circuit(sent.number, model)

    def ended(self, sent: Sent) -> None:
        """It is there no more."""
        self.in_flight[sent.number] -= 1
        if sent.begun:
            self._answering[sent.number] -= 1
        else:
            self._reading[sent.number] -= sent.unread

    def failed(self, sent: Sent, model: str, error: ExpertError) -> None:
        """It failed, before or after its first token."""
        circuit = self._circuit(sent.number, model)
        if (wish := circuit.wish_of(error)) > 0:
            circuit.backoff_until = wish
        if circuit.failed(error):
            # It may have been restarted, and its cache be empty.
            self._record.forget(sent.number)
        self._note_circuit(sent.number, model)
        if is_failure(error):
            self._report(sent.number, failed=True)

    def checked(self, number: int, error: ExpertError | None, served: tuple[str, ...], begun: float) -> None:
        """The result of a check that began at `begun` (monotonic); `served`: models that the server lists."""
        was_down = not self._up[number]
        self._checked[number], self._up[number] = error, error is None
        if self._served[number] != frozenset(served):
            self._served[number] = frozenset(served)
            self._serving.clear()
        if error is not None:
            self._record.forget(number)
            return
        for model, circuits in self._circuits.items():
            circuits[number].checked(begun, was_down)
            self._note_circuit(number, model)

    def told(self, number: int, load: ServerLoad) -> None:
        """The server's own report of its load."""
        self._loads[number] = load
        self._told_at[number] = self._clock()
        self._others[number] = max(0.0, load.running + load.waiting - self.in_flight[number])
        self._usage[number] = load.kv_usage
        if load.kv_tokens is not None:
            self._record.resize(number, load.kv_tokens * BYTES_PER_TOKEN // BLOCK_BYTES)
        if load.adapters:
            self._adapters |= load.adapters

    def states(self, model: str) -> list[ReplicaState]:
        """Every replica."""
        now, usable = self._clock(), self.usable(model)
        return [
            ReplicaState(
                id=self.ids[number],
                number=number + 1,
                usable=bool(usable[number]),
                ejected=bool(self._ejected_until[number] > now),
                in_flight=int(self.in_flight[number]),
                running=self._loads[number].running,
                waiting=self._loads[number].waiting,
                kv_usage=round(float(self._usage[number]), 4),
                failure_rate=round(float(self._failures[number]), 4),
                detail=self._detail(number, model),
            )
            for number in range(len(self))
        ]

    def _detail(self, number: int, model: str) -> str:
        if (error := self._checked[number]) is not None:
            return error.message
        if (served := self._served[number]) and model not in served:
            return f"Its server does not serve {model}."
        circuit = self._circuits[model][number] if model in self._circuits else None
        if circuit is not None and circuit.open_until > self._clock():
            return circuit.last.message if circuit.last is not None else "Its server asked to wait."
        if self._ejected_until[number] > self._clock():
            return "It fails more often, or is slower, than the others."
        return "Answers."

    def _standing(self, model: str) -> Standing:
        now = self._clock()
        if now > self._stale_at:
            fresh = self._told_at > now - STALE_S
            self._others *= fresh
            self._usage *= fresh
            self._stale_at = now + 1.0
        missing = self._nowhere
        if model in self._adapters:
            missing = np.array(
                [each.adapters is not None and model not in each.adapters for each in self._loads]
            )
        return Standing(
            reading=self._reading,
            answering=self._answering,
            others=self._others,
            stored=self._record.stored,
            capacity=self._record.capacity,
            usage=self._usage,
            adapter_missing=missing,
            mean=self._mean,
        )

    def _circuit(self, number: int, model: str) -> Circuit:
        if model not in self._circuits:
            self._circuits[model] = [Circuit(self.settings) for _ in self.endpoints]
            self._open_until[model] = np.zeros(len(self))
        return self._circuits[model][number]

    def _note_circuit(self, number: int, model: str) -> None:
        self._open_until[model][number] = self._circuits[model][number].open_until

    def _report(self, number: int, *, failed: bool) -> None:
        self._failures[number] = DECAY * self._failures[number] + (1 - DECAY) * failed
        self._samples[number] = min(SAMPLES, self._samples[number] + 1)
        self._reports += 1
        if self._reports % JUDGED_EVERY:
            return
        now = self._clock()
        out = [int(each) for each in np.flatnonzero(self._ejected_until > now)]
        for each in outliers(self._failures, self._pace, self._samples, out):
            self._ejected_until[each] = now + self.settings.cooldown_s
            # When it comes back it is judged by new requests.
            self._failures[each] = self._samples[each] = 0
            self._pace[each] = np.nan
