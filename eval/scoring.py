"""Scoring experts on a suite: ask every expert every prompt once, grade, hand back the outcomes.

Asking goes through the store of answers, so a changed check never asks again. An expert that could not
answer has no score there, which is not a score of 0.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from base.reply import AskError, Reply
from base.task_groups import together
from client import ApiError, ExpertInfo
from eval.checks import grade
from eval.engine.benchmark import Question, converse
from eval.engine.contestants import Contestant, ContestantAsker
from eval.sandbox import SandboxUnavailable
from eval.suite import Item, Suite

GRADING_THREADS = 2

Ask = Callable[[Item], Awaitable[Reply]]
"""Puts an item to an expert. Raises AskError."""
Done = Callable[[str, Reply | None], None]
"""Called with the expert's name and its reply to each prompt, None when there is none."""
Replies = Mapping[str, Reply | AskError]
"""By the item's id."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one expert did on one item: a score in 0..1, or None and an `error` code that says why not."""

    item: Item
    expert: str
    score: float | None
    reason: str
    """Why the score is not 1, or what the error was."""
    error: str | None
    answer: Reply | None


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Every expert on every item, experts by experts in the order of the suite."""

    suite: Suite
    experts: tuple[ExpertInfo, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def asked(self) -> int:
        """Answers that were asked for now; the others were kept from before."""
        return sum(each.answer is not None and not each.answer.kept for each in self.outcomes)

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


def question_of(item: Item) -> Question:
    """An item as everybody asks it: greedily, in one turn."""
    return Question(item.id, item.category, (item.prompt,), max_tokens=item.max_tokens)


async def ask_item(
    asker: ContestantAsker, contestant: Contestant, item: Item, system: str | None = None
) -> Reply:
    """The contestant's answer, under the prompt `system`. Raises AskError."""
    (turn,) = await converse(asker, contestant, question_of(item), system=system)
    return turn.reply


async def ask_all(name: str, items: Sequence[Item], ask: Ask, done: Done) -> dict[str, Reply | AskError]:
    """The reply of the expert `name` to each item, or why there is none."""

    async def one(item: Item) -> Reply | AskError:
        try:
            reply = await ask(item)
        except AskError as error:
            done(name, None)
            return error
        done(name, reply)
        return reply

    found = await together(one(item) for item in items)
    return {item.id: reply for item, reply in zip(items, found, strict=True)}


async def score_experts(
    asker: ContestantAsker,
    suite: Suite,
    experts: Sequence[ExpertInfo],
    contestants: Sequence[Contestant],
    *,
    allow_network_code: bool = False,
    done: Done = lambda expert, reply: None,
) -> Outcomes:
    """Ask each of `contestants`, the same `experts` on their server, every item of `suite`, and grade."""

    async def replies(contestant: Contestant) -> Replies:
        return await ask_all(
            contestant.name, suite.items, lambda item: ask_item(asker, contestant, item), done
        )

    async with asker.open():
        found = await together(replies(each) for each in contestants)
    by_expert = {each.name: replies for each, replies in zip(contestants, found, strict=True)}
    return Outcomes(suite, tuple(experts), await grade_all(suite, by_expert, allow_network_code))


async def grade_all(
    suite: Suite, replies: Mapping[str, Replies], allow_network_code: bool
) -> tuple[Outcome, ...]:
    """The outcome of each expert, by name, on each item."""

    def outcome(expert: str, item: Item) -> Outcome:
        answer = replies[expert].get(item.id) or AskError("not_asked", "was not asked")
        if isinstance(answer, AskError):
            return Outcome(item, expert, None, answer.message, answer.code, None)
        try:
            graded = grade(item.check, answer.text, allow_network_code=allow_network_code)
        except SandboxUnavailable as error:
            return Outcome(item, expert, None, str(error), "sandbox_unavailable", answer)
        return Outcome(item, expert, graded.score, graded.reason, None, answer)

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(GRADING_THREADS, thread_name_prefix="grade") as pool:
        return tuple(
            await asyncio.gather(
                *(
                    loop.run_in_executor(pool, outcome, expert, item)
                    for expert in replies
                    for item in suite.items
                )
            )
        )
