"""Time to the first token at real servers of one model: our choice of a replica against round robin.

    python -m benchmarks.replica_affinity http://127.0.0.1:8101/v1 http://127.0.0.1:8102/v1 --model smollm2

Start vLLM servers with prefix caching whose caches hold somewhat more than half of the documents each
(documents × words × 1.4 tokens). Questions about documents come in a random order, `--at-once` at a time;
each round has new documents for either way, so that both begin cold on the same servers, and takes the ways
in turn. `first`: the first question about a document, which every way has to read; `again`: all others.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any, Literal

from base.json_documents import write_json
from experts.client import ExpertClient
from experts.expert import Expert
from experts.replica_loads import LoadPoller

Way = Literal["chosen", "round robin"]
WAYS: tuple[Way, ...] = ("chosen", "round robin")
TEXT = """
valve pump river market letter garden window answer copper engine summer bridge winter silver doctor castle
paper forest number circle travel planet signal button harbor lesson rocket shadow carpet ticket
"""
WORDS = TEXT.split()


@dataclass(frozen=True, slots=True)
class Asked:
    """One question. `cached`: tokens that the server read from its cache, None where it does not say."""

    way: Way
    round: int
    again: bool
    first_token_s: float
    seconds: float
    prompt_tokens: int
    completion_tokens: int
    cached: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """Seconds to the first token, and tokens (prompt and answer) a second of wall time over all rounds."""

    way: Way
    questions: int
    mean_s: float
    median_s: float
    mean_first_s: float
    mean_again_s: float
    median_again_s: float
    cached_share: float | None
    tokens_per_s: float


def document(seed: str, words: int) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(words))


def questions(
    way: Way, round_: str, documents: int, each: int, words: int
) -> list[tuple[int, dict[str, Any]]]:
    """The questions of a round in a random order, with the number of their document."""
    draw = random.Random(round_)
    order = [number for number in range(documents) for _ in range(each)]
    draw.shuffle(order)
    found = []
    for at, number in enumerate(order):
        system = f"Document {way} {round_} {number}. {document(f'{way} {round_} {number}', words)}"
        messages = [
            {"role": "system", "content": system},
            {"role": "user", "content": f"Question {at}: name one word of the document."},
        ]
        found.append((number, {"messages": messages, "max_tokens": 8, "temperature": 0}))
    return found


async def ask(client: ExpertClient, expert: Expert, body: dict[str, Any]) -> tuple[float, float, Any]:
    begun = time.perf_counter()
    async with client.stream(expert, {**body, "stream_options": {"include_usage": True}}) as stream:
        first = time.perf_counter() - begun
        async for _ in stream:
            pass
    return first, time.perf_counter() - begun, stream.usage or {}


async def run_round(
    client: ExpertClient, way: Way, round_: int, experts: Sequence[Expert], given: argparse.Namespace
) -> tuple[list[Asked], float]:
    """The answers of a round, and its seconds. `experts`: one with all replicas, or one for each server."""
    seen: set[int] = set()
    asked: list[Asked] = []
    waiting = list(
        enumerate(questions(way, f"{given.seed} {round_}", given.documents, given.each, given.words))
    )
    waiting.reverse()

    async def worker() -> None:
        while waiting:
            at, (number, body) = waiting.pop()
            again = number in seen
            seen.add(number)
            first, seconds, usage = await ask(client, experts[at % len(experts)], body)
            details = usage.get("prompt_tokens_details") or {}
            asked.append(
                Asked(
                    way,
                    round_,
                    again,
                    first,
                    seconds,
                    usage.get("prompt_tokens", 0),
                    usage.get("completion_tokens", 0),
                    details.get("cached_tokens"),
                )
            )

    begun = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(given.at_once)))
    return asked, time.perf_counter() - begun


def summary(way: Way, asked: Sequence[Asked], seconds: float) -> Summary:
    mine = [each for each in asked if each.way == way]
    again = [each.first_token_s for each in mine if each.again]
    prompt = sum(each.prompt_tokens for each in mine)
    told = [each.cached for each in mine if each.cached is not None]
    return Summary(
        way,
        len(mine),
        mean(each.first_token_s for each in mine),
        median(each.first_token_s for each in mine),
        mean(each.first_token_s for each in mine if not each.again),
        mean(again),
        median(again),
        sum(told) / prompt if told else None,
        (prompt + sum(each.completion_tokens for each in mine)) / seconds,
    )


def _expert(model: str, endpoints: Sequence[str]) -> Expert:
    first, *others = endpoints
    return Expert(
        name="replicated",
        endpoint=first,
        replicas=tuple(others),
        model=model,
        params_b=1,
        context_length=8192,
    )


async def measure(given: argparse.Namespace) -> list[Summary]:
    every = _expert(given.model, given.endpoints)
    single = [_expert(given.model, [each]) for each in given.endpoints]
    asked: list[Asked] = []
    summaries: list[Summary] = []
    seconds = dict.fromkeys(WAYS, 0.0)
    async with ExpertClient() as client:
        loads = LoadPoller([every], client)
        await loads.start()
        try:
            for round_ in range(given.rounds):
                for way in WAYS if round_ % 2 == 0 else WAYS[::-1]:
                    experts = [every] if way == "chosen" else single
                    found, took = await run_round(client, way, round_, experts, given)
                    asked += found
                    seconds[way] += took
                    summaries = [summary(way, asked, seconds[way]) for way in WAYS if seconds[way]]
                    keep(summaries, asked, given.keep)
                    print(f"round {round_ + 1}, {way}: {took:.0f} s", flush=True)  # noqa: T201
        finally:
            await loads.stop()
    return summaries


def keep(summaries: Sequence[Summary], asked: Sequence[Asked], path: Path | None) -> None:
    """After each way: a round takes minutes."""
    if path is not None:
        write_json({"ways": [asdict(each) for each in summaries], "asked": [asdict(a) for a in asked]}, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("endpoints", nargs="+", help="base URLs ending in /v1")
    parser.add_argument("--model", required=True)
    parser.add_argument("--documents", type=int, default=10)
    parser.add_argument("--each", type=int, default=4, help="questions about each document")
    parser.add_argument("--words", type=int, default=1_000, help="of a document")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the documents, which servers keep")
    parser.add_argument("--keep", type=Path, help="write every figure there, as JSON")
    given = parser.parse_args()
    summaries = asyncio.run(measure(given))

    from rich.table import Table

    from base.terminal import console

    table = Table(show_edge=False, pad_edge=False)
    for heading in ("", "mean", "median", "first", "again", "cached", "tokens/s"):
        table.add_column(heading, justify="left" if not heading else "right")
    for each in summaries:
        cached = "" if each.cached_share is None else f"{each.cached_share:.0%}"
        table.add_row(
            each.way,
            *(f"{s:.2f} s" for s in (each.mean_s, each.median_s, each.mean_first_s, each.mean_again_s)),
            cached,
            f"{each.tokens_per_s:.0f}",
        )
    console(stderr=False).print(table)


if __name__ == "__main__":
    main()
