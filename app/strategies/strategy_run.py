"""One request on its way through a strategy's graph: what the steps see and what they can do."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.serving.strategy_trace import Trace
from app.strategies.answer_output import AnswerOutput
from app.strategies.expert_calls import ExpertAnswer, ExpertCall, ExpertCalls, Messages, OpenAnswer
from app.strategies.limits import LimitReached
from experts.errors import ExpertError
from routers.decision import Decision

if TYPE_CHECKING:
    from app.strategies.policy_progress import PolicyProgress
    from routers.strategies.equivalence import Comparison
    from routers.strategies.fitted_strategies import FittedStrategies

Compare = Callable[[Sequence[str | None], str, float | None], Awaitable["tuple[list[int], Comparison]"]]
"""Which of the replies to a question say the same: `routers.strategies.equivalence.answer_classes`."""

NODE: ContextVar[str] = ContextVar("coterie_strategy_node", default="")
"""The node that is running: calls are traced under its name."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An expert that may answer. `expected`: its expected score, 0..1; `value`: what the decision ranks by;
    parameters in billions, expected $ of the request, None unknown."""

    expert: str
    expected: float
    value: float
    active_params_b: float
    cost: float | None


@dataclass(slots=True)
class Run:
    """What a step works with. `candidates` are best value first, without those that may not answer or
    are known to be down."""

    decision: Decision
    options: Any
    """An instance of the strategy's options class."""
    body: Mapping[str, Any]
    """The client's request."""
    candidates: tuple[Candidate, ...]
    generalist: str | None
    """The composition's generalist, when it may answer."""
    calls: ExpertCalls
    output: AnswerOutput
    trace: Trace
    compare: Compare
    fitted: "FittedStrategies | None" = None
    """What was fitted for the composition that decided."""
    progress: "PolicyProgress | None" = None
    """Of the policy, where the strategy is one."""
    replies: list[ExpertAnswer] = field(default_factory=list)
    """Whole answers that could be the request's: the last resort when something fails."""
    critique: str = ""
    """What was found wrong with the latest reply."""

    @property
    def messages(self) -> Messages:
        messages: Messages = self.body["messages"]
        return messages

    def candidate(self, expert: str | None) -> Candidate | None:
        return next((each for each in self.candidates if each.expert == expert), None)

    def lacks(self, *experts: str | None) -> str | None:
        """Why a strategy that needs `experts` (None: nobody) refuses this request; None when they all may
        answer it."""
        missing = next((each for each in experts if each is not None and self.candidate(each) is None), None)
        return None if missing is None else f"{missing} cannot answer this request"

    async def ask(
        self, expert: str, purpose: str, *, answers: bool = True, **how: Any
    ) -> ExpertAnswer | None:
        """Ask for a whole answer; None when it failed, which the trace then says. `answers`: it may stand
        as the request's own answer. `how`: the fields
        of `ExpertCall`; others go into the body."""
        try:
            said = await self.calls.complete(ExpertCall.of(expert, NODE.get(), purpose, **how))
        except (ExpertError, LimitReached) as error:
            self._failed(expert, purpose, error)
            return None
        if answers:
            self.replies.append(said)
        return said

    async def listen(self, expert: str, purpose: str, **how: Any) -> OpenAnswer | None:
        """Ask for an answer that is read as it comes; None when it failed."""
        try:
            return await self.calls.open(ExpertCall.of(expert, NODE.get(), purpose, **how))
        except (ExpertError, LimitReached) as error:
            self._failed(expert, purpose, error)
            return None

    async def answer(self, said: ExpertAnswer) -> None:
        """This is the request's answer."""
        await self.output.say(said)

    async def answer_from(self, expert: str, purpose: str, **how: Any) -> bool:
        """What `expert` says is the request's answer, passed on as it comes. False when it failed before
        anything was passed on."""
        if not self.output.stream:
            said = await self.ask(expert, purpose, **how)
            if said is not None:
                await self.answer(said)
            return said is not None
        live = await self.listen(expert, purpose, **how)
        if live is None:
            return False
        await self.output.follow(live)
        return True

    async def follow(self, live: OpenAnswer) -> bool:
        """The answer that is coming is the request's. False when it failed before anything was passed on."""
        try:
            await self.output.follow(live)
        except (ExpertError, LimitReached) as error:
            if self.output.begun:
                raise
            self._failed(live.expert, live.step.purpose, error)
            return False
        return True

    def note(self, sentence: str) -> None:
        """Say what was decided, in the trace."""
        self.trace.notes.append(sentence)

    def degrade(self, sentence: str) -> None:
        """Say what went otherwise than meant, in the trace."""
        self.trace.degrade(sentence)

    def _failed(self, expert: str, purpose: str, error: ExpertError | LimitReached) -> None:
        why = f"failed ({error.code})" if isinstance(error, ExpertError) else f"was left out: {error}"
        self.degrade(f"{expert} {why} ({purpose}).")
