"""Strategies on real models: `python -m benchmarks.live_strategies --api http://127.0.0.1:8000/v1`.

Runs every expert alone, `single` and each strategy of a running API on the project's checkable prompts: the
strategies that were fitted for its composition, else their forms without a fit. Answers are stored
immediately, so an interrupted run resumes. Writes a table and a plot.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.progress import ProgressBars
from base.reply import Reply
from base.task_groups import together
from base.terminal import console
from benchmarks.live_tables import Answer, draw, rows_of, table_of
from benchmarks.measured_pages import PageError, fill_page
from client import ApiError, AsyncClient
from eval.engine.api_line import ApiLine
from eval.engine.contestants import Contestant, ContestantAsker, ContestantError, identify, normal_base
from eval.protocols.checkable import Grader
from eval.scoring import score_item
from eval.suite import OWN, CheckablePrompt, SuiteError, load_suite
from experts.answer_store import AnswerStore, StoreError, default_store
from experts.asker import Asker
from routers.decision import FAMILIES, SINGLE

BEGIN, END = "<!-- live table: begin -->", "<!-- live table: end -->"


@dataclass(frozen=True, slots=True)
class Arm:
    """One configuration: the request's `model` and further fields."""

    name: str
    model: str
    fields: Mapping[str, Any]
    strategy: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask and report. Returns 1 on failure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live_strategies", description=__doc__)
    parser.add_argument("--api", default="http://127.0.0.1:8000/v1", help="the API; key in COTERIE_API_KEY")
    parser.add_argument("--suite", type=Path, default=OWN, help="checkable prompts")
    parser.add_argument("--out", type=Path, default=Path("var/strategies-live"), help="results")
    parser.add_argument("--per-category", type=int, metavar="N", help="the first N prompts of each category")
    parser.add_argument("--cache", type=Path, help="the file of answers; default: the one of all commands")
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--docs", type=Path, metavar="FILE", help=f"put the table between {BEGIN} and {END}")
    parser.add_argument(
        "--allow-network-code", action="store_true", help="run code answers without network isolation"
    )
    given = parser.parse_args(arguments)
    try:
        return asyncio.run(_run(given))
    except (ApiError, ContestantError, StoreError, SuiteError, PageError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; run the same command to resume\n")
        return 130


async def _run(given: argparse.Namespace) -> int:
    items = chosen_items(load_suite(given.suite).items, given.per_category)
    given.out.mkdir(parents=True, exist_ok=True)
    key = os.environ.get("COTERIE_API_KEY")
    async with AsyncClient(given.api, key=key) as api:
        experts = await api.experts()
    arms = [*(Arm(each.name, each.name, {}) for each in experts), *strategy_arms()]
    with AnswerStore(given.cache or default_store()) as store:
        asker = Asker(store, ApiLine(), concurrency=given.concurrency)
        asking = _Asking(asker, given.api, key, given.allow_network_code)
        answers = await asking.ask("asking", arms, items)
    rows = rows_of(answers, [arm.name for arm in arms], {each.name: each for each in experts})
    table = table_of(rows)
    about = (
        f"{rows[0].answers if rows else 0} prompts, the same for every row. "
        f"Requests in flight: {given.concurrency}."
    )
    (given.out / "table.md").write_text(f"{about}\n\n{table}", encoding="utf-8")
    draw(rows, given.out / "strategies.png")
    console(stderr=False).print(f"{about}\n\n{table}", markup=False, highlight=False)
    if given.docs:
        fill_page(given.docs, BEGIN, END, f"{about}\n\n{table}".rstrip())
    unasked = len(arms) * len(items) - len(answers)
    if unasked:
        sys.stderr.write(f"{unasked} answers are missing; the same command tries them again\n")
    return 0


def chosen_items(items: Sequence[CheckablePrompt], per_category: int | None) -> list[CheckablePrompt]:
    """The first `per_category` of each category; all without it."""
    seen: dict[str, int] = {}
    found = []
    for item in items:
        seen[item.category] = seen.get(item.category, 0) + 1
        if per_category is None or seen[item.category] <= per_category:
            found.append(item)
    return found


def strategy_arms() -> list[Arm]:
    """`single` and every strategy."""
    return [
        Arm(name, "coterie", {"routing": {"strategy": name}}, name) for name in (SINGLE, "chain", *FAMILIES)
    ]


class _Asking:
    """Asks and scores unanswered items."""

    def __init__(
        self, asker: ContestantAsker, server: str, key: str | None, allow_network_code: bool
    ) -> None:
        self._asker = asker
        self._server = server
        self._key = key
        self._grader = Grader(allow_network_code=allow_network_code)

    async def ask(self, what: str, arms: Sequence[Arm], items: Sequence[CheckablePrompt]) -> list[Answer]:
        """Ask every item of every arm, arms interleaved, so that an interrupted run has equal shares."""
        found = await identify(
            Contestant(arm.name, normal_base(self._server), arm.model, api_key=self._key, extra=arm.fields)
            for arm in arms
        )
        with ProgressBars() as progress:
            task = progress.add(what, len(arms) * len(items))

            async def one(arm: Arm, contestant: Contestant, item: CheckablePrompt) -> Answer | None:
                outcome = await score_item(self._asker, self._grader, contestant, item, greedy=True)
                progress.advance(task)
                if outcome.answer is None or outcome.score is None:
                    sys.stderr.write(f"{arm.name}, {item.id}: {outcome.error}\n")
                    return None
                return answer_of(arm, item, outcome.answer, outcome.score)

            async with self._asker.open():
                answers = await together(
                    one(arm, contestant, item)
                    for item in items
                    for arm, contestant in zip(arms, found, strict=True)
                )
        return [each for each in answers if each is not None]


def answer_of(arm: Arm, item: CheckablePrompt, found: Reply, points: float) -> Answer:
    """The reported figures of one answer."""
    routing = found.routing or {}
    trace = routing.get("trace") or {}
    ran = str(routing.get("strategy") or "single")
    steps = [step["expert"] for step in trace.get("steps", ()) if step.get("status") != "refused"]
    return Answer(
        arm=arm.name,
        id=item.id,
        category=item.category,
        score=points,
        seconds=found.seconds,
        prompt_tokens=found.usage.prompt or 0,
        completion_tokens=found.usage.completion or 0,
        calls=steps or [str(routing.get("expert") or arm.model)],
        strategy=ran,
        degraded=bool(trace.get("degraded")) or (arm.strategy or "single") != ran,
    )


if __name__ == "__main__":
    sys.exit(main())
