"""Scoring experts on a suite: ask every expert every prompt once, grade, hand back the outcomes.

Asking is bounded and resumable (answers are kept as they come); grading reads kept answers, so a changed
check never asks again. An expert that could not answer has no score there, which is not a score of 0.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from base.reply import AskError
from client import ApiError, AsyncClient, ExpertInfo
from eval.answers import Answer, AnswerStore, answer_key
from eval.checks import grade
from eval.sandbox import SandboxUnavailable
from eval.service import complete, expert_identity
from eval.suite import Item, Suite

TEMPERATURE = 0.0
GIVE_UP_AFTER = 5
"""So many prompts in a row that fail by the expert's own fault, and the expert is not asked the rest."""
GRADING_THREADS = 2

Question = Callable[[ExpertInfo, Item], tuple[list[dict[str, str]], dict[str, float | int], str]]
"""What an expert is asked for an item: the messages, the sampling, and the key its answer is kept under."""
Done = Callable[[str, bool], None]
"""Called with (name of the expert, whether it answered) for each prompt asked now."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one expert did on one item: a score in 0..1, or None and an `error` code that says why not."""

    item: Item
    expert: str
    score: float | None
    reason: str
    """Why the score is not 1, or what the error was."""
    error: str | None
    answer: Answer | None


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Every expert on every item, experts by experts in the order of the suite."""

    suite: Suite
    experts: tuple[ExpertInfo, ...]
    outcomes: tuple[Outcome, ...]
    asked: int
    """Answers that were asked for now; the others were kept from before."""

    def of(self, expert: str) -> tuple[Outcome, ...]:
        """The outcomes of one expert, in the order of the suite's items."""
        return tuple(each for each in self.outcomes if each.expert == expert)


def choose(experts: Sequence[ExpertInfo], names: Sequence[str]) -> tuple[ExpertInfo, ...]:
    """The experts named, in the order given; all of them when none is named.

    Raises:
        ApiError: an expert that the API does not have.
    """
    known = {expert.name: expert for expert in experts}
    missing = [name for name in names if name not in known]
    if missing:
        message = f"the API has no expert {', '.join(missing)}; it has {', '.join(known)}"
        raise ApiError(message, code="model_not_found")
    return tuple(known[name] for name in dict.fromkeys(names)) if names else tuple(experts)


def question(expert: ExpertInfo, item: Item) -> tuple[list[dict[str, str]], dict[str, float | int], str]:
    """The messages, the sampling and the key under which their answer is kept."""
    messages = [{"role": "user", "content": item.prompt}]
    sampling: dict[str, float | int] = {"temperature": TEMPERATURE, "max_tokens": item.max_tokens}
    return messages, sampling, answer_key(expert_identity(expert), messages, sampling)


def unanswered(expert: ExpertInfo, suite: Suite, store: AnswerStore, ask: Question = question) -> list[Item]:
    """The items that `store` holds no answer of `expert` to."""
    return [item for item in suite.items if store.get(ask(expert, item)[2]) is None]


async def score_experts(
    api: AsyncClient,
    suite: Suite,
    experts: Sequence[ExpertInfo],
    store: AnswerStore,
    *,
    concurrency: int = 4,
    allow_network_code: bool = False,
    done: Done = lambda expert, answered: None,
    ask: Question = question,
) -> Outcomes:
    """Ask each of `experts` every item of `suite` that `store` has no answer to, and grade all answers.

    `concurrency` requests are in flight for each expert; `ask` says how an item is put to it.
    """
    before = len(store)
    failures: dict[tuple[str, str], AskError] = {}
    async with asyncio.TaskGroup() as group:
        for expert in experts:
            items = unanswered(expert, suite, store, ask)
            group.create_task(ask_all(api, expert, items, store, concurrency, failures, done, ask))
    outcomes = await _grade_all(suite, experts, store, failures, allow_network_code, ask)
    return Outcomes(suite, tuple(experts), outcomes, asked=len(store) - before)


async def ask_all(
    api: AsyncClient,
    expert: ExpertInfo,
    items: Sequence[Item],
    store: AnswerStore,
    concurrency: int,
    failures: dict[tuple[str, str], AskError],
    done: Done,
    ask: Question = question,
) -> None:
    """Ask `expert` these items and keep the answers; what fails goes to `failures`, by expert and item."""
    waiting = iter(items)
    in_a_row = 0

    async def work() -> None:
        nonlocal in_a_row
        for item in waiting:
            messages, sampling, key = ask(expert, item)
            try:
                if in_a_row >= GIVE_UP_AFTER:
                    raise AskError("not_asked", f"not asked: {expert.name} failed {in_a_row} times in a row")
                completion = await complete(api, expert.name, messages, sampling)
            except AskError as error:
                failures[expert.name, item.id] = error
                in_a_row = in_a_row + 1 if error.unavailable else in_a_row
                done(expert.name, False)
                continue
            in_a_row = 0
            store.add(
                Answer(
                    key=key,
                    expert=expert.name,
                    text=completion.text,
                    finish_reason=completion.finish_reason,
                    prompt_tokens=completion.usage.prompt,
                    completion_tokens=completion.usage.completion,
                    latency_s=round(completion.latency_s, 4),
                )
            )
            done(expert.name, True)

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())


async def _grade_all(
    suite: Suite,
    experts: Sequence[ExpertInfo],
    store: AnswerStore,
    failures: dict[tuple[str, str], AskError],
    allow_network_code: bool,
    ask: Question,
) -> tuple[Outcome, ...]:
    def outcome(expert: ExpertInfo, item: Item) -> Outcome:
        answer = store.get(ask(expert, item)[2])
        if answer is None:
            error = failures.get((expert.name, item.id)) or AskError("not_asked", "was not asked")
            return Outcome(item, expert.name, None, error.message, error.code, None)
        try:
            graded = grade(item.check, answer.text, allow_network_code=allow_network_code)
        except SandboxUnavailable as error:
            return Outcome(item, expert.name, None, str(error), "sandbox_unavailable", answer)
        return Outcome(item, expert.name, graded.score, graded.reason, None, answer)

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(GRADING_THREADS, thread_name_prefix="grade") as pool:
        return tuple(
            await asyncio.gather(
                *(
                    loop.run_in_executor(pool, outcome, expert, item)
                    for expert in experts
                    for item in suite.items
                )
            )
        )
