"""Strategies on real models: `python -m benchmarks.live_strategies --api http://127.0.0.1:8000/v1`.

Runs every expert alone, `single` and each strategy of a running API on the project's checkable prompts.
The cascade (the cheap expert's confidence model and the threshold for a target escalation rate) is fitted on
half of the prompts; the other half is reported, the same for all. Answers are stored immediately, so an
interrupted run resumes. Writes a table, a plot and the fitted cascade.
"""

import argparse
import asyncio
import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from base.progress import ProgressBars
from base.reply import Reply
from base.task_groups import together
from base.terminal import console
from benchmarks.live_tables import Answer, draw, rows_of, table_of
from benchmarks.measured_pages import PageError, fill_page
from client import ApiError, AsyncClient, ExpertInfo
from eval.engine.api_line import ApiLine
from eval.engine.contestants import Contestant, ContestantAsker, ContestantError, identify, normal_base
from eval.protocols.checkable import Grader
from eval.scoring import score_item
from eval.suite import OWN, CheckablePrompt, SuiteError, load_suite
from experts.answer_store import AnswerStore, StoreError, default_store
from experts.asker import Asker
from experts.confidence import ALTERNATIVES, NAMES, read_tokens, signals_of
from routers.cascade_model import (
    WINDOW,
    CascadeError,
    CascadeModel,
    CascadeOutcomes,
    fit_cascade,
    save_cascades,
)

FIT, REPORT = "fit", "report"
BEGIN, END = "<!-- live table: begin -->", "<!-- live table: end -->"


@dataclass(frozen=True, slots=True)
class Arm:
    """One configuration: the request's `model` and further fields."""

    name: str
    model: str
    fields: Mapping[str, Any]
    strategy: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, fit, report. Returns 1 on failure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live_strategies", description=__doc__)
    parser.add_argument("--api", default="http://127.0.0.1:8000/v1", help="the API; key in COTERIE_API_KEY")
    parser.add_argument("--suite", type=Path, default=OWN, help="checkable prompts")
    parser.add_argument("--out", type=Path, default=Path("var/strategies-live"), help="results")
    parser.add_argument("--per-category", type=int, metavar="N", help="the first N prompts of each category")
    parser.add_argument("--share", type=float, default=0.5, help="of requests to escalate, the fit's target")
    parser.add_argument("--cache", type=Path, help="the file of answers; default: the one of all commands")
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--weak", help="the cascade's cheap expert; default: the smallest")
    parser.add_argument("--strong", help="its strong one; default: the largest")
    parser.add_argument("--docs", type=Path, metavar="FILE", help=f"put the table between {BEGIN} and {END}")
    parser.add_argument(
        "--allow-network-code", action="store_true", help="run code answers without network isolation"
    )
    given = parser.parse_args(arguments)
    if not 0 < given.share < 1:
        parser.error("--share must be between 0 and 1")
    try:
        return asyncio.run(_run(given))
    except (ApiError, ContestantError, StoreError, SuiteError, CascadeError, PageError) as error:
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
    weak, strong = pair_of(experts, given.weak, given.strong)
    alone = [expert_arm(each) for each in experts]
    fitting = [item for item in items if part_of(item) == FIT]
    reporting = [item for item in items if part_of(item) == REPORT]
    with AnswerStore(given.cache or default_store()) as store:
        asker = Asker(store, ApiLine(), concurrency=given.concurrency)
        asking = _Asking(asker, given.api, key, given.allow_network_code)
        fitted_on = await asking.ask(
            "fit", [arm for arm in alone if arm.model in {weak.name, strong.name}], fitting
        )
        model = fit(fitted_on, weak, strong, given.share)
        save_cascades([model], given.out / "cascades.json")
        arms = [*alone, *strategy_arms(model)]
        answers = await asking.ask("report", arms, reporting)
    rows = rows_of(answers, [arm.name for arm in arms], {each.name: each for each in experts})
    table = table_of(rows)
    about = (
        f"{rows[0].answers if rows else 0} prompts, the same for every row; the cascade was fitted on "
        f"{model.fitted_on} others (threshold {model.threshold:.3f}, for {given.share:.0%} escalations). "
        f"Requests in flight: {given.concurrency}."
    )
    (given.out / "table.md").write_text(f"{about}\n\n{table}", encoding="utf-8")
    draw(rows, given.out / "strategies.png")
    console(stderr=False).print(f"{about}\n\n{table}", markup=False, highlight=False)
    if given.docs:
        fill_page(given.docs, BEGIN, END, f"{about}\n\n{table}".rstrip())
    unasked = len(arms) * len(reporting) - len(answers)
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


def part_of(item: CheckablePrompt) -> str:
    """The half that a prompt belongs to; depends only on its id, so that halves are stable across runs."""
    return FIT if hashlib.sha256(item.id.encode()).digest()[0] % 2 else REPORT


def pair_of(
    experts: Sequence[ExpertInfo], weak: str | None, strong: str | None
) -> tuple[ExpertInfo, ExpertInfo]:
    """The cascade's two experts. Raises CascadeError without two experts of different sizes."""
    by_name = {each.name: each for each in experts}
    for name in (weak, strong):
        if name is not None and name not in by_name:
            raise CascadeError(f"the API has no expert {name!r}: it has {', '.join(by_name)}")
    sized = sorted(
        (each for each in experts if each.active_params_b),
        key=lambda each: (each.active_params_b or 0.0, each.base is not None),
    )
    if not sized:
        raise CascadeError("the API tells no expert's size: is it Coterie?")
    first, last = by_name.get(weak or sized[0].name), by_name.get(strong or sized[-1].name)
    if first is None or last is None or (first.active_params_b or 0) >= (last.active_params_b or 0):
        raise CascadeError("a cascade takes two sizes of experts: name them with --weak and --strong")
    return first, last


def expert_arm(expert: ExpertInfo) -> Arm:
    """The expert alone, with the log-probabilities that a cascade would read."""
    return Arm(expert.name, expert.name, {"logprobs": True, "top_logprobs": ALTERNATIVES})


def strategy_arms(model: CascadeModel) -> list[Arm]:
    """`single` and every strategy; the cascade by its fitted model."""
    cascade = {
        "weak": model.weak,
        "strong": model.strong,
        "weights": dict(model.weights),
        "bias": model.bias,
        "threshold": model.threshold,
        "window": model.window,
    }
    routings: dict[str, dict[str, Any]] = {
        "single": {"strategy": "single"},
        "cascade": {"strategy": "cascade", "options": cascade},
        "panel": {"strategy": "panel"},
        "panel, aggregated": {"strategy": "panel", "options": {"combine": "aggregate"}},
        "chain": {"strategy": "chain"},
        "self_select": {"strategy": "self_select"},
    }
    return [
        Arm(name, "coterie", {"routing": routing}, routing["strategy"]) for name, routing in routings.items()
    ]


def fit(answers: Sequence[Answer], weak: ExpertInfo, strong: ExpertInfo, share: float) -> CascadeModel:
    """The cascade of the two experts, for escalating `share` of the requests. Cost is in billions of active
    parameters that ran. Raises CascadeError."""
    import numpy as np

    found = {(each.arm, each.id): each for each in answers}
    both = sorted(
        id_
        for id_ in {each.id for each in answers}
        if (weak.name, id_) in found and (strong.name, id_) in found and found[weak.name, id_].signals
    )
    if not both:
        raise CascadeError(f"{weak.name} reported no log-probabilities, so there is no confidence to fit")
    signals = {name: [found[weak.name, id_].signals.get(name) for id_ in both] for name in NAMES}
    known = {
        name: np.asarray(values, dtype=np.float64)
        for name, values in signals.items()
        if all(value is not None for value in values)
    }
    small, large = weak.active_params_b or 0.0, strong.active_params_b or 0.0
    ones = np.ones(len(both))
    outcomes = CascadeOutcomes(
        signals=known,
        weak=np.asarray([found[weak.name, id_].score for id_ in both]),
        strong=np.asarray([found[strong.name, id_].score for id_ in both]),
        weak_cost=small * ones,
        strong_cost=large * ones,
    )
    target = small + share * large
    model = fit_cascade(weak.name, strong.name, outcomes, target, cost_unit="B active parameters")
    return model


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
    answer = Answer(
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
    tokens = read_tokens(found.logprobs)[:WINDOW]
    if not tokens:
        return answer
    signals = signals_of(tokens)
    return replace(answer, signals={name: getattr(signals, name) for name in NAMES})


if __name__ == "__main__":
    sys.exit(main())
