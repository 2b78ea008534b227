"""Scores experts on a suite: an expert answers a prompt once or several times, and each answer is graded.

Answers are cached in the answer store, so changing a check causes no requests. A failed request is a missing
score, not a score of 0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from base.reply import AskError, Reply
from base.task_groups import together
from client import ApiError, AsyncClient, ExpertInfo
from eval.engine.benchmark import converse
from eval.engine.contestants import Contestant, ContestantAsker, expert_contestant
from eval.protocols.checkable import Grader, item_question
from eval.service import served_experts
from eval.suite import CheckablePrompt, Suite, only

Samples = Mapping[tuple[str, str], int]
"""The number of answers wanted by (expert, item id); what is not in it is not asked."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer of one expert to one item: a score in 0..1, or None and an `error` code. `sample` numbers
    the expert's answers to the item."""

    item: CheckablePrompt
    expert: str
    score: float | None
    reason: str
    """Why the score is below 1, or the error."""
    error: str | None
    answer: Reply | None
    sample: int = 0


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The outcomes of all experts, sorted by expert, then by item in the suite's order, then by sample.
    `greedy`: asked at temperature 0 instead of with the expert's own sampling."""

    suite: Suite
    experts: tuple[ExpertInfo, ...]
    outcomes: tuple[Outcome, ...]
    greedy: bool = False

    @property
    def asked(self) -> int:
        """The number of answers that were not in the store."""
        return sum(each.answer is not None and not each.answer.kept for each in self.outcomes)

    def of(self, expert: str) -> tuple[Outcome, ...]:
        """The outcomes of one expert, in the suite's order, samples together."""
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


def samples_wanted(
    suite: Suite, experts: Sequence[ExpertInfo], samples: int = 1, within: Mapping[str, Sequence[str]] = {}
) -> Samples:
    """`samples` answers of each expert to each item; `within` holds the categories of experts that are scored
    on some categories only.

    Raises:
        ApiError: `within` names another expert.
        SuiteError: it names a category that the suite does not have.
    """
    choose(experts, list(within))
    return {
        (expert.name, item.id): samples
        for expert in experts
        for item in only(suite, within.get(expert.name, ())).items
    }


async def find_experts(
    server: str, api_key: str | None, names: Sequence[str]
) -> tuple[tuple[ExpertInfo, ...], tuple[Contestant, ...]]:
    """The named experts of `server`, as descriptions and as contestants. Raises ApiError."""
    async with AsyncClient(server, key=api_key) as api:
        served = await served_experts(api)
        experts = choose(served, names)
    return experts, tuple(expert_contestant(each, served, api.base, api_key) for each in experts)


async def score_item(
    asker: ContestantAsker,
    grader: Grader,
    contestant: Contestant,
    item: CheckablePrompt,
    *,
    system: str | None = None,
    sample: int = 0,
    greedy: bool = False,
) -> Outcome:
    """Ask and grade one contestant on one item, with the system prompt `system`."""
    question = item_question(item, sample=sample, greedy=greedy)
    try:
        (turn,) = await converse(asker, contestant, question, system=system)
    except AskError as error:
        return Outcome(item, contestant.name, None, error.message, error.code, None, sample)
    marks = await grader.mark(item.check, turn.reply.text)
    error_code = "sandbox_unavailable" if marks.score is None else None
    return Outcome(item, contestant.name, marks.score, marks.reason, error_code, turn.reply, sample)


async def score_experts(
    asker: ContestantAsker,
    suite: Suite,
    experts: Sequence[ExpertInfo],
    contestants: Sequence[Contestant],
    *,
    wanted: Samples | None = None,
    greedy: bool = False,
    allow_network_code: bool = False,
    done: Callable[[Outcome], None] = lambda outcome: None,
) -> Outcomes:
    """Ask and grade `contestants` (the same experts as `experts`) on the items of `suite` for as many samples
    as `wanted`, by default one of each. First samples go before second ones, and smaller experts before
    larger ones, so that what an interrupted run has is of use."""
    grader = Grader(allow_network_code=allow_network_code)
    wanted = samples_wanted(suite, experts) if wanted is None else wanted

    async def one(sample: int, contestant: Contestant, item: CheckablePrompt) -> Outcome:
        outcome = await score_item(asker, grader, contestant, item, sample=sample, greedy=greedy)
        done(outcome)
        return outcome

    size = {each.name: each.active_params_b or each.params_b or 0.0 for each in experts}
    by_size = sorted(contestants, key=lambda each: size[each.name])
    asks = [
        (sample, contestant, item)
        for sample in range(max(wanted.values(), default=0))
        for contestant in by_size
        for item in suite.items
        if sample < wanted.get((contestant.name, item.id), 0)
    ]
    async with asker.open():
        found = await together(one(*ask) for ask in asks)
    expert_at = {expert.name: place for place, expert in enumerate(experts)}
    item_at = {item.id: place for place, item in enumerate(suite.items)}
    found.sort(key=lambda each: (expert_at[each.expert], item_at[each.item.id], each.sample))
    return Outcomes(suite, tuple(experts), tuple(found), greedy)
