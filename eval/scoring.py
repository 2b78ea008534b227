"""Scoring experts on a suite: ask every expert every prompt once, grade, hand back the outcomes.

Asking goes through the store of answers, so a changed check never asks again. An expert that could not
answer has no score there, which is not a score of 0.
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
    """What one expert did on one item: a score in 0..1, or None and an `error` code that says why not."""

    item: CheckablePrompt
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


async def find_experts(
    server: str, api_key: str | None, names: Sequence[str]
) -> tuple[tuple[ExpertInfo, ...], tuple[Contestant, ...]]:
    """What `server` says of the experts named, and the same as contestants. Raises ApiError."""
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
    """What the contestant did on one item, under the prompt `system`."""
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
    """Ask each of `contestants`, the same `experts` on their server, every item of `suite`, and grade."""
    grader = Grader(allow_network_code=allow_network_code)

    async def one(contestant: Contestant, item: CheckablePrompt) -> Outcome:
        outcome = await score_item(asker, grader, contestant, item)
        done(outcome)
        return outcome

    async with asker.open():
        found = await together(one(contestant, item) for contestant in contestants for item in suite.items)
    return Outcomes(suite, tuple(experts), tuple(found))
