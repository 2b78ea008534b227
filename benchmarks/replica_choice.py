"""Simulation of replicas with published costs, and the time that choosing one takes.

    python -m benchmarks.replica_choice [--replicas 8 64 1000] [--picture FILE]

The choice is the service's own (`experts.replicas.pool`), on the clock of the simulation; the others are
round robin, the fewest requests in flight, and a hash of the conversation alone.

The servers: vLLM with Qwen3-32B on two H100s each. Reading 10,000 tokens takes 4.3 s and with all of them in
the cache 0.6 s (published by llm-d): 0.37 ms a token, one prompt after the other. A token of an answer takes
25 ms, and 0.3 ms more for each further request that is being answered (assumed). The cache holds 305,000
tokens: 2 × 80 GB × 0.9, less 64 GB of weights, at 262,144 bytes a token (64 layers, 8 key-value heads of
128).

The load is that of llm-d's "KV-cache wins you can see": for each replica 19 customers with a system prompt of
6,000 tokens, and questions of 1,200; answers of 250 tokens here. Arrivals are Poisson.
"""

import argparse
import heapq
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import numpy as np

from base.json_documents import write_json
from experts.expert import Expert
from experts.replicas.choice import session_hash
from experts.replicas.pool import Asked, ReplicaPool, Sent
from experts.replicas.prefix_record import PrefixRecord
from experts.replicas.server_metrics import ServerLoad

BLOCK_TOKENS = 128
READ_S = 0.00037
"""A token of a prompt."""
TOKEN_S, MORE_S = 0.025, 0.0003
CACHE_TOKENS = 305_000
CUSTOMERS = 19
"""For each replica."""
SYSTEM, QUESTION, ANSWER = 6_000, 1_200, 250
PLACES = 256
TOLD_EVERY_S = 1.0

WAYS = ("chosen", "session hash", "fewest in flight", "round robin")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds to the first token; `hits`: the share of prompt tokens that a cache held."""

    way: str
    replicas: int
    rate: float
    """Requests a second for each replica."""
    requests: int
    mean_s: float
    p50_s: float
    p99_s: float
    hits: float
    tokens_per_s: float
    """Of answers, of each replica."""
    choose_us: float
    """Mean processor time of a choice."""


class _Server:
    """Reads prompts one after the other; answers many at once."""

    def __init__(self) -> None:
        self.free_at = 0.0
        self.answering = 0
        self.waiting = 0
        self.cache = PrefixRecord(1, CACHE_TOKENS // BLOCK_TOKENS)

    def read(self, now: float, blocks: Sequence[int]) -> tuple[float, float]:
        """When a prompt that comes now has been read, and its blocks that the cache holds."""
        cached = float(self.cache.matched(blocks)[0])
        self.cache.note(0, blocks)
        begun = max(now, self.free_at)
        self.free_at = begun + (len(blocks) - cached) * BLOCK_TOKENS * READ_S
        return self.free_at, cached


class _World:
    """One run. Events are (time, order, what happens)."""

    def __init__(self, way: str, replicas: int) -> None:
        self.way = way
        self.now = 0.0
        self.servers = [_Server() for _ in range(replicas)]
        urls = [f"http://replica-{number}/v1" for number in range(replicas)]
        self.pool = ReplicaPool(
            Expert(
                name="simulated",
                endpoint=urls[0],
                replicas=tuple(urls[1:]),
                model="m",
                params_b=32,
                context_length=32_768,
            ),
            clock=lambda: self.now,
        )
        self.free = np.ones(replicas, np.bool_)
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = count()
        self.turn = 0
        self.first_s: list[float] = []
        self.hits = 0.0
        self.blocks = 0
        self.ended_at = 0.0
        self.choose_s = 0.0

    def at(self, when: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self.events, (when, next(self.order), happens))

    def run(self) -> None:
        while self.events:
            self.now, _, happens = heapq.heappop(self.events)
            happens()

    def tell(self) -> None:
        """Every server reports its load."""
        for number, server in enumerate(self.servers):
            load = ServerLoad(server.answering, server.waiting, 0.0, CACHE_TOKENS)
            self.pool.told(number, load)

    def choose(self, blocks: tuple[int, ...], session: int) -> tuple[int, Sent | None]:
        match self.way:
            case "round robin":
                self.turn += 1
                return self.turn % len(self.servers), None
            case "session hash":
                return session % len(self.servers), None
            case "fewest in flight":
                load = [server.answering + server.waiting for server in self.servers]
                return load.index(min(load)), None
        asked = Asked("m", blocks, session)
        begun = time.process_time()
        sent = self.pool.pick(asked, self.free)
        self.choose_s += time.process_time() - begun
        if sent is None:
            raise RuntimeError("no replica is usable")
        return sent.number, sent

    def arrive(self, blocks: tuple[int, ...], session: int) -> None:
        number, sent = self.choose(blocks, session)
        server, came = self.servers[number], self.now
        server.waiting += 1
        read_at, cached = server.read(self.now, blocks)
        self.hits += cached
        self.blocks += len(blocks)

        def begin() -> None:
            server.waiting -= 1
            server.answering += 1
            self.first_s.append(self.now - came)
            if sent is not None:
                self.pool.began(sent, "m", first_token=True)
            self.at(self.now + ANSWER * (TOKEN_S + MORE_S * (server.answering - 1)), end)

        def end() -> None:
            server.answering -= 1
            self.ended_at = self.now
            if sent is not None:
                self.pool.succeeded(sent, "m")
                self.pool.ended(sent)

        self.at(read_at, begin)


def simulate(way: str, replicas: int, rate: float, each: int, seed: int = 0) -> Outcome:
    """`each` requests for each replica, `rate` a second. Customers draw evenly; every request is a session of
    its customer's own users."""
    draw, world = random.Random(seed), _World(way, replicas)
    customers = CUSTOMERS * replicas
    systems = [
        tuple(hash((customer, at)) for at in range(SYSTEM // BLOCK_TOKENS)) for customer in range(customers)
    ]
    when, requests = 0.0, each * replicas
    for request in range(requests):
        when += draw.expovariate(rate * replicas)
        customer = draw.randrange(customers)
        own = tuple(hash((customer, request, at)) for at in range(QUESTION // BLOCK_TOKENS))
        session = session_hash(f"{customer}/{draw.randrange(5)}")
        blocks = systems[customer] + own
        world.at(when, lambda blocks=blocks, session=session: world.arrive(blocks, session))  # type: ignore[misc]
    if way == "chosen":
        for tick in range(int(when / TOLD_EVERY_S) + 1):
            world.at(tick * TOLD_EVERY_S, world.tell)
    world.run()
    # The caches are empty at the start.
    first = np.array(world.first_s[requests // 4 :])
    return Outcome(
        way,
        replicas,
        rate,
        requests,
        float(first.mean()),
        float(np.median(first)),
        float(np.quantile(first, 0.99)),
        world.hits / world.blocks,
        requests * ANSWER / world.ended_at / replicas,
        world.choose_s / requests * 1e6,
    )


def choosing_us(replicas: int, repeats: int = 2_000) -> tuple[float, float]:
    """Processor time of a choice, in microseconds: the median of ten runs' means of a prompt that half of the
    replicas know in part, and of one that nobody knows while all are idle, the worst case."""
    urls = [f"http://replica-{number}/v1" for number in range(replicas)]
    blocks = tuple(hash(("prompt", at)) for at in range(56))

    def run(busy: bool) -> float:
        fields = {"name": "a", "model": "m", "params_b": 1, "context_length": 8}
        pool = ReplicaPool(Expert.model_validate({**fields, "endpoint": urls[0], "replicas": urls[1:]}))
        free, asked = np.ones(replicas, np.bool_), Asked("m", blocks if busy else ())
        if busy:
            for number in range(0, replicas, 2):
                held = Asked("m", blocks[: 8 + number % 48], replica=pool.ids[number], held=True)
                pool.pick(held, free)
        begun = time.process_time()
        for _ in range(repeats // 10):
            sent = pool.pick(asked, free)
            if sent is not None:
                pool.ended(sent)
        return (time.process_time() - begun) / (repeats // 10) * 1e6

    return tuple(float(np.median([run(busy) for _ in range(10)])) for busy in (True, False))  # type: ignore[return-value]


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Seconds to the first token by number of replicas, a line for each way."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    rates = sorted({each.rate for each in outcomes})
    figure, axes = pyplot.subplots(1, len(rates), figsize=(4.5 * len(rates), 3.6), sharey=True, squeeze=False)
    for axis, rate in zip(axes[0], rates, strict=True):
        for way in WAYS:
            line = [each for each in outcomes if each.way == way and each.rate == rate]
            axis.plot([o.replicas for o in line], [o.mean_s for o in line], marker="o", label=way)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("replicas")
        axis.set_title(f"{rate:g} requests a second for each replica", fontsize=10)
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("mean seconds to the first token")
    axes[0][-1].legend(frameon=False, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--replicas", type=int, nargs="+", default=[8, 64, 256, 1000])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.3, 0.6, 1.2])
    parser.add_argument("--each", type=int, default=80, help="requests for each replica")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--keep", type=Path, help="write every figure there, as JSON")
    given = parser.parse_args()
    from rich.table import Table

    from base.terminal import console

    table = Table(show_edge=False, pad_edge=False)
    for heading in ("replicas", "rate", "", "mean", "median", "p99", "cache hits", "tokens/s", "choice"):
        table.add_column(heading, justify="left" if not heading else "right")
    outcomes = []
    for replicas in given.replicas:
        for rate in given.rates:
            for way in WAYS:
                found = simulate(way, replicas, rate, given.each)
                outcomes.append(found)
                table.add_row(
                    str(replicas),
                    f"{rate:g}",
                    way,
                    *(f"{seconds:.2f} s" for seconds in (found.mean_s, found.p50_s, found.p99_s)),
                    f"{found.hits:.0%}",
                    f"{found.tokens_per_s:.0f}",
                    f"{found.choose_us:.0f} µs" if found.choose_us else "",
                )
    screen = console(stderr=False)
    screen.print(table)
    for replicas in given.replicas:
        known, idle = choosing_us(replicas)
        screen.print(f"choosing among {replicas}: {known:.0f} µs, when all are the same {idle:.0f} µs")
    if given.keep is not None:
        write_json([asdict(each) for each in outcomes], given.keep)
    if given.picture is not None:
        draw(outcomes, given.picture)


if __name__ == "__main__":
    main()
