"""Strategies that are policies of `routers.strategies`: what is known of the request goes to the policy, and
it says whom to ask next, or whose reply is the answer.

A fit and a replay run the same policies over recorded answers. What the composition has fitted is run as it
is; where it has nothing, or the options name the experts, a simple policy of the same family stands in, and
the trace says `"fitted": false`.
"""

import asyncio
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from pydantic import Field

from app.strategies.expert_calls import ExpertAnswer
from app.strategies.policy_progress import PolicyProgress
from app.strategies.strategy import Strategy, StrategyOptions, graph_of, verdict_of
from app.strategies.strategy_run import Run
from app.strategies.unfitted_policies import unfitted_cascade, unfitted_self_select, unfitted_vote
from base.reply_text import text_of_message
from experts.confidence import FLOOR, signals_of
from routers.decision import Choice

if TYPE_CHECKING:
    from langgraph.graph import StateGraph

    from routers.strategies import State, StrategyPolicy

Names = Annotated[tuple[str, ...], Field(min_length=1, max_length=8)]


class VoteOptions(StrategyOptions):
    """Who votes, each with one vote. Either option stands in for what was fitted."""

    size: Annotated[int, Field(ge=2, le=8)] = 3
    """The number of experts, best by value first."""
    members: Names | None = None
    """Exactly these, instead."""


class CascadeOptions(StrategyOptions):
    """Which two experts, and how sure the weak one must be. Any of them stands in for what was fitted."""

    weak: str | None = None
    strong: str | None = None
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """Geometric mean of the token probabilities from which the weak answer is accepted."""


class SelfSelectOptions(StrategyOptions):
    """Which experts answer side by side. Any of them stands in for what was fitted."""

    candidates: Annotated[int, Field(ge=2, le=8)] = 3
    """The number of experts, best by value first."""
    experts: Names | None = None
    """Exactly these, instead."""
    bias: dict[str, Annotated[float, Field(ge=FLOOR, le=-FLOOR)]] = Field(default_factory=dict)
    """Added to an expert's mean log-probability (nats)."""


class _PolicyState(TypedDict, total=False):
    verdict: Literal["ask", "show", "answer", "nobody", "failed", "shown"]


class PolicyStrategy(Strategy):
    """One family of policies."""

    def __init__(self, name: str, options: type[StrategyOptions] = StrategyOptions) -> None:
        self.name = name
        self.options = options

    def graph(self) -> "StateGraph[Any, Any, Any, Any]":
        import scipy.special  # noqa: F401 - policies need it: now, and not with the first request
        from langgraph.graph import END, START

        graph = graph_of(_PolicyState, decide=_decide, ask=_ask, show=_show, answer=_answer)
        graph.add_edge(START, "decide")
        graph.add_conditional_edges(
            "decide", verdict_of, {"ask": "ask", "show": "show", "answer": "answer", "nobody": END}
        )
        graph.add_edge("ask", "decide")
        graph.add_conditional_edges("show", verdict_of, {"failed": "decide", "shown": END})
        graph.add_edge("answer", END)
        return graph

    def refuses(self, run: Run) -> str | None:
        found = self._begin(run)
        if isinstance(found, str):
            return found
        run.progress = found
        return None

    def _begin(self, run: Run) -> PolicyProgress | str:
        """The policy before its first call; or why there is none."""
        own = run.options.model_fields_set - set(StrategyOptions.model_fields)
        fitted = None if own or run.fitted is None else run.fitted.find(run.trace.strategy)
        threshold = None if run.fitted is None else run.fitted.likeness
        if fitted is not None and run.fitted is not None:
            policy, experts, categories = fitted.policy, run.fitted.experts, len(run.fitted.categories)
        else:
            experts, categories = tuple(each.expert for each in run.decision.ranking), 1
            found = self._unfitted(run, experts)
            if isinstance(found, str):
                return found
            policy = found
        run.trace.values |= {
            "policy": self.name if fitted is None else fitted.id,
            "fitted": fitted is not None,
            "asked": [],
        }
        state = _state(run, experts, categories if fitted is not None else None)
        return PolicyProgress(policy, experts, state, threshold)

    def _unfitted(self, run: Run, experts: tuple[str, ...]) -> "StrategyPolicy | str":
        match self.name:
            case "cascade":
                return unfitted_cascade(run, experts)
            case "self_select":
                return unfitted_self_select(run, experts)
            case "panel" | "vote":
                return unfitted_vote(run, experts)
        return f"the composition has no fitted {self.name}"


def _state(run: Run, experts: tuple[str, ...], categories: int | None) -> "State":
    """What is known before the first call; `categories` None: the policy does not look at them."""
    import numpy as np

    from routers.strategies import State

    choices: dict[str, Choice] = {each.expert: each for each in run.decision.ranking}
    able = {each.expert for each in run.candidates}
    known = run.decision.posterior
    if categories is None:
        posterior = np.ones(1)
    else:
        posterior = np.full(categories, 1 / categories) if known is None else np.asarray(known)
    expected = [choices[name].utility + choices[name].correction for name in experts]
    return State.begin(
        posterior[None, :], np.asarray([expected]), np.asarray([[name in able for name in experts]])
    )


async def _decide(state: _PolicyState, run: Run) -> _PolicyState:
    from routers.strategies.strategy_policy import settled

    progress = _progress(run)
    progress.action = action = progress.policy.act(progress.state)
    if action.done[0]:
        return {"verdict": "answer" if action.answer[0] >= 0 else "nobody"}
    return {"verdict": "show" if settled(progress.policy, progress.state, action.ask) else "ask"}


async def _ask(state: _PolicyState, run: Run) -> _PolicyState:
    progress = _progress(run)
    names = progress.asked_now
    # The tokens are shared out beforehand, so that nobody depends on who was quicker; a share is left over.
    share = run.calls.account.tokens_left // (len(names) + 1)
    logprobs = progress.policy.signals
    found = await asyncio.gather(
        *(run.ask(name, "answer", token_share=share, logprobs=logprobs) for name in names)
    )
    await _note_replies(run, list(found))
    return {}


async def _show(state: _PolicyState, run: Run) -> _PolicyState:
    progress = _progress(run)
    (name,) = progress.asked_now
    run.trace.values["asked"].append(name)
    if await run.answer_from(name, "answer", logprobs=progress.policy.signals):
        run.note(f"Whatever it said, the reply of {name} was to be the answer.")
        return {"verdict": "shown"}
    run.trace.values["asked"].pop()
    await _note_replies(run, [None])
    return {"verdict": "failed"}


async def _answer(state: _PolicyState, run: Run) -> _PolicyState:
    progress = _progress(run)
    action, known = progress.action, progress.state
    if action is None:
        raise RuntimeError("no action was decided")
    name = progress.experts[int(action.answer[0])]
    said = next(each for each in run.replies if each.expert == name)
    column = known.order[0].tolist().index(int(action.answer[0]))
    own = int(known.answers[0, column])
    agree = int((known.answers[0] == own).sum()) if own >= 0 else 0
    probability = float(action.probability[0])
    run.trace.values |= {
        "agree": agree,
        "probability": None if math.isnan(probability) else round(probability, 4),
    }
    sure = "" if math.isnan(probability) else f", right with probability {probability:.2f}"
    run.note(f"{agree} of {len(run.replies)} replies say what {name} says{sure}.")
    await run.answer(said)
    return {}


async def _note_replies(run: Run, found: list[ExpertAnswer | None]) -> None:
    """Take what the latest action brought into the state."""
    import numpy as np

    progress = _progress(run)
    names = progress.asked_now
    ask = np.asarray([[progress.experts.index(name) for name in names]])
    progress.texts += [None if said is None else said.text for said in found]
    turns = [each for each in run.messages if each.get("role") == "user"]
    question = text_of_message(turns[-1]) if turns else ""
    classes, how = await run.compare(progress.texts, question, progress.threshold)
    signals = [None if said is None else signals_of(said.tokens) for said in found]
    for said, each in zip(found, signals, strict=True):
        if said is not None and each is not None and each.mean is not None:
            said.step.confidence = math.exp(each.mean)
    progress.state = progress.state.after(
        ask,
        np.asarray([classes[-len(found) :]]),
        np.asarray([[said is not None for said in found]]),
        _columns([{} if each is None else asdict(each) for each in signals]),
    )
    run.trace.values["asked"] += names
    run.trace.values["compared_by"] = how


def _columns(signals: list[dict[str, float | None]]) -> dict[str, Any]:
    """Arrays (1, calls) by name, NaN where unknown."""
    import numpy as np

    names = sorted({name for each in signals for name, value in each.items() if value is not None})
    return {
        name: np.asarray([[np.nan if (v := each.get(name)) is None else v for each in signals]])
        for name in names
    }


def _progress(run: Run) -> PolicyProgress:
    if run.progress is None:
        raise RuntimeError("no policy was chosen for this request")
    return run.progress


cascade = PolicyStrategy("cascade", CascadeOptions)
mixed = PolicyStrategy("mixed")
panel = PolicyStrategy("panel", VoteOptions)
self_select = PolicyStrategy("self_select", SelfSelectOptions)
stopping = PolicyStrategy("stopping")
vote = PolicyStrategy("vote", VoteOptions)
