"""Scores experts on a suite: every expert answers every prompt once and is graded.

Answers are cached in the answer store, so changing a check causes no requests. A failed request is a missing
score, not a score of 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from base.reply import AskError, Reply
from base.task_groups import together
from client import ApiError, AsyncClient, ExpertInfo
from eval.engine.benchmark import converse
from eval.engine.contestants import Contestant, ContestantAsker, expert_contestant
from eval.protocols.checkable import Grader, item_question
from eval.service import served_experts
from eval.suite import CheckablePrompt, Suite


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one expert on one item: a score in 0..1, or None and an `error` code."""

    item: CheckablePrompt
    expert: str
    score: float | None
    reason: str
    """Why the score is below 1, or the error."""
    error: str | None
    answer: Reply | None


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The outcomes of all experts, sorted by expert, then by item in the suite's order."""

    suite: Suite
    experts: tuple[ExpertInfo, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def asked(self) -> int:
        """The number of answers that were not in the store."""
        return sum(each.answer is not None and not each.answer.kept for each in self.outcomes)

    def of(self, expert: str) -> tuple[Outcome, ...]:
        """The outcomes of one expert, in the suite's order."""
        return tuple(each for each in self.outcomes if each.expert == expert)


def choose(experts: Sequence[ExpertInfo], names: Sequence[str]) -> tuple[ExpertInfo, ...]:
    """The named experts, in the given order; all if `names` is empty.

    Raises:
        ApiError: an unknown expert.
    """
    known = {expert.name: expert for expert in experts}
    missing = [name for name in names if name not in known]
    if missing:
        message = f"the API has no expert {', '.join(missing)}; it has {', '.join(known)}"
        raise ApiError(message, code="model_not_found")
    return tuple(known[name] for name in dict.fromkeys(names)) if names else tuple(experts)


async def find_experts(
    server: str, api_key: str | None, names: Sequence[str]
) -> tuple[tuple[ExpertInfo, ...], tuple[Contestant, ...]]:
    """The named experts of `server`, as descriptions and as contestants. Raises ApiError."""
    async with AsyncClient(server, key=api_key) as api:
        experts = choose(await served_experts(api), names)
    return experts, tuple(expert_contestant(each, api.base, api_key) for each in experts)


async def score_item(
    asker: ContestantAsker,
    grader: Grader,
    contestant: Contestant,
    item: CheckablePrompt,
    *,
    system: str | None = None,
) -> Outcome:
    """Ask and grade one contestant on one item, with the system prompt `system`."""
    try:
        (turn,) = await converse(asker, contestant, item_question(item), system=system)
    except AskError as error:
        return Outcome(item, contestant.name, None, error.message, error.code, None)
    marks = await grader.mark(item.check, turn.reply.text)
    error_code = "sandbox_unavailable" if marks.score is None else None
    return Outcome(item, contestant.name, marks.score, marks.reason, error_code, turn.reply)


async def score_experts(
    asker: ContestantAsker,
    suite: Suite,
    experts: Sequence[ExpertInfo],
    contestants: Sequence[Contestant],
    *,
    allow_network_code: bool = False,
    done: Callable[[Outcome], None] = lambda outcome: None,
) -> Outcomes:
    """Ask and grade `contestants` (the same experts as `experts`) on every item of `suite`."""
    grader = Grader(allow_network_code=allow_network_code)

    async def one(contestant: Contestant, item: CheckablePrompt) -> Outcome:
        outcome = await score_item(asker, grader, contestant, item)
        done(outcome)
        return outcome

    async with asker.open():
        found = await together(one(contestant, item) for contestant in contestants for item in suite.items)
    return Outcomes(suite, tuple(experts), tuple(found))
