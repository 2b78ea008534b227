"""Accuracy of off-policy estimates against ground truth from shadow answers, on a running service.

    export COTERIE_EXPLORE=0.5 COTERIE_SHADOW_RATE=1 COTERIE_SHADOW_QUEUE=1000 COTERIE_STORE_PROMPTS=true
    COTERIE_SHADOW_CONCURRENCY=4 COTERIE_DATA=var/traffic coterie up
    python -m benchmarks.offpolicy_accuracy [--limit 120]

Sends checkable prompts to the service, scores each answer, and waits for and scores the shadow answers of
all other experts. Estimates the scores of other policies from the explored answers alone (`eval.offpolicy`)
and prints them beside the true scores, which the shadow answers give. Answers are cached (`--cache`), and
missing ratings of cached answers are added.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from base.reply import AskError
from base.task_groups import together
from client import ApiError, AsyncClient, DecisionRecord
from eval.benchmark_registry import HELD_OUT
from eval.checks import grade
from eval.engine.api_line import ApiLine
from eval.engine.contestants import Contestant, ContestantError, identify, normal_base
from eval.offpolicy import OffPolicyError, Target, always, as_decided, evaluate, usable, weighing
from eval.suite import CheckablePrompt, load_suite
from eval.traffic import Logged, TrafficError, fetch_traffic, reward
from experts.answer_store import AnswerStore, StoreError
from experts.asker import Asker

CACHE = Path("var/offpolicy/answers.sqlite")
"""Separate from the shared answer store, because these answers are explored."""
WAIT_S, PATIENCE_S = 5.0, 300.0
"""Polling interval for shadow answers, and timeout without progress; seconds."""
MAX_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Truth:
    """The true score of a policy on `n` requests with ratings of all experts' answers."""

    score: float
    n: int


class Traffic:
    """Sends `items` to the service at `base` and rates the answers, with bounded concurrency."""

    def __init__(
        self,
        base: str,
        items: Iterable[CheckablePrompt],
        concurrency: int,
        key: str | None = None,
        cache: Path = CACHE,
        *,
        wait_s: float = WAIT_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._items = {item.prompt.strip(): item for item in items}
        self._base, self._key = base, key
        self._cache, self._concurrency = cache, concurrency
        self._wait_s, self._patience_s = wait_s, patience_s

    async def ask(self) -> int:
        """Send items without cached answers and rate unrated answers; returns the number of items sent."""
        decided = {each.id: each for each in await self._decisions()}
        server = normal_base(self._base)
        (contestant,) = await identify([Contestant("coterie", server, "coterie", api_key=self._key)])
        with AnswerStore(self._cache) as store:
            asker = Asker(store, ApiLine(), concurrency=self._concurrency)
            async with asker.open(), AsyncClient(self._base, key=self._key) as api:

                async def one(item: CheckablePrompt) -> bool:
                    sampling = {"temperature": 0, "max_tokens": min(item.max_tokens, MAX_TOKENS)}
                    messages = [{"role": "user", "content": item.prompt}]
                    reply = await asker.ask(contestant, messages, sampling)
                    if reply.kept and (reply.routing or {}).get("id") not in decided:
                        # Cached from another service, which this one has no decision of.
                        asker.forget(contestant, messages, sampling)
                        reply = await asker.ask(contestant, messages, sampling)
                    if reply.routing is None:
                        raise TrafficError("what answers is not Coterie: it decides nothing")
                    decision = str(reply.routing["id"])
                    if decision not in decided or not decided[decision].feedback:
                        await api.feedback(decision, score=await _score(item, reply.text))
                    return not reply.kept

                return sum(await together(one(item) for item in self._items.values()))

    async def rate_shadows(self) -> int:
        """Wait for the shadow answers and rate the unrated ones; returns their number."""
        await self._shadows()
        rated = 0
        async with AsyncClient(self._base, key=self._key) as api:
            for decision in await self._decisions():
                item = self._items[_prompt(decision)]
                for shadow in decision.shadows:
                    if shadow.status == "ok" and not shadow.feedback:
                        await api.feedback(shadow.id, score=await _score(item, shadow.answer or ""))
                        rated += 1
        return rated

    async def _shadows(self) -> None:
        """Wait until every request has its shadow answers. Raises TrafficError on timeout."""
        there, latest = -1, time.monotonic()
        while time.monotonic() - latest < self._patience_s:
            decisions = await self._decisions()
            counts = [len(each.shadows) for each in decisions]
            if all(count >= _others(each) for count, each in zip(counts, decisions, strict=True)):
                return
            if sum(counts) > there:
                there, latest = sum(counts), time.monotonic()
            await asyncio.sleep(self._wait_s)
        raise TrafficError(
            f"{there} shadow answers came, and no more for {self._patience_s:g} s: start the service with "
            "COTERIE_SHADOW_RATE=1, then run this again"
        )

    async def _decisions(self) -> list[DecisionRecord]:
        """Decisions about our items. Raises TrafficError if the service stores no prompts."""
        async with AsyncClient(self._base, key=self._key) as api:
            found = await api.decisions()
        if any(each.messages is None for each in found):
            raise TrafficError("the service keeps no prompts: start it with COTERIE_STORE_PROMPTS=true")
        return [each for each in found if _prompt(each) in self._items]


def _prompt(decision: DecisionRecord) -> str:
    return str((decision.messages or ({},))[-1].get("content")).strip()


async def _score(item: CheckablePrompt, text: str) -> float:
    return (await asyncio.to_thread(grade, item.check, text)).score


def _others(decision: DecisionRecord) -> int:
    """The number of eligible experts besides the one that answered."""
    return sum(each.excluded is None for each in decision.ranking) - 1


def truths(log: Sequence[Logged], targets: Mapping[str, Target]) -> dict[str, Truth]:
    """True scores by policy, over requests with ratings of all experts' answers."""
    found: dict[str, list[float]] = {name: [] for name in targets}
    for each in usable(log)[0]:
        scores = {each.expert: reward(each.feedback)}
        scores |= {shadow.expert: reward(shadow.feedback) for shadow in each.shadows}
        for name, target in targets.items():
            if (score := scores.get(target(each) or "")) is not None:
                found[name].append(score)
    return {name: Truth(sum(scores) / len(scores), len(scores)) for name, scores in found.items() if scores}


def table(log: Sequence[Logged], weights: Sequence[float]) -> str:
    """Markdown: estimates with 95 % intervals, and the truth. Raises OffPolicyError."""
    experts = sorted({choice.expert for each in log for choice in each.ranking})
    targets: dict[str, Target] = {"as it was decided": as_decided}
    targets |= {f"active weight {weight:g}": weighing(weight) for weight in weights}
    targets |= {f"always {name}": always(name) for name in experts}
    report, known = evaluate(log, targets), truths(log, targets)
    rows = [
        f"{report.usable} requests; the plain mean of their answers is {report.naive.value:.3f}.",
        "",
        "| policy | scored | doubly robust, 95 % | SNIPS | IPS | worth, requests |",
        "|---|---|---|---|---|---|",
    ]
    for each in report.policies:
        robust, scored = each.doubly_robust, known.get(each.policy)
        rows.append(
            f"| {each.policy} | {'–' if scored is None else f'{scored.score:.3f}'} "
            f"| {robust.value:.3f} ({robust.low:.3f} to {robust.high:.3f}) "
            f"| {each.snips.value:.3f} | {each.ips.value:.3f} | {each.effective:.0f} |"
        )
    return "\n".join(rows) + "\n"


async def gather(traffic: Traffic) -> None:
    """Send and rate everything, reporting progress."""
    started = time.monotonic()
    asked = await traffic.ask()
    sys.stderr.write(
        f"asked {asked} prompts in {time.monotonic() - started:.0f} s; waiting for the shadows\n"
    )
    rated = await traffic.rate_shadows()
    sys.stderr.write(f"rated {rated} shadow answers\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.offpolicy_accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--api", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--limit", type=int, default=120, help="prompts")
    parser.add_argument("--weight", type=float, action="append", help="active weights to estimate")
    parser.add_argument("--concurrency", type=int, default=6)
    parser.add_argument("--api-key")
    parser.add_argument("--cache", type=Path, default=CACHE, help="the file of answers")
    given = parser.parse_args(arguments)
    items = [*load_suite(HELD_OUT).items, *load_suite().items][: given.limit]
    try:
        asyncio.run(gather(Traffic(given.api, items, given.concurrency, given.api_key, given.cache)))
        log = fetch_traffic(given.api, key=given.api_key)
        sys.stdout.write(table(log, given.weight or [0.0, 0.2, 0.5]))
    except (ApiError, AskError, ContestantError, OffPolicyError, StoreError, TrafficError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
