"""`self_select`: candidate experts begin to answer, and the most confident go on; the others are stopped.

Confidence is the mean log-probability of an expert's own first tokens. Models of different families are
sure of themselves to different degrees; `bias` evens that out where it was measured.
"""

import asyncio
import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from pydantic import Field

from app.strategies.expert_calls import ExpertAnswer, OpenAnswer
from app.strategies.limits import LimitReached
from app.strategies.strategy import Strategy, StrategyOptions, graph_of, verdict_of
from app.strategies.strategy_run import Run
from base.final_answers import closed_answer, kind_of_question, vote
from experts.confidence import FLOOR, signals_of
from experts.errors import ExpertError

if TYPE_CHECKING:
    from langgraph.graph import StateGraph


class SelfSelectOptions(StrategyOptions):
    """Which experts begin, for how long, and how many go on."""

    candidates: Annotated[int, Field(ge=2, le=8)] = 3
    """The number of experts that begin, best by value first."""
    experts: Annotated[tuple[str, ...], Field(min_length=2, max_length=8)] | None = None
    """Exactly these, instead."""
    tokens: Annotated[int, Field(ge=1, le=256)] = 8
    """Tokens of each before one is chosen."""
    keep: Annotated[int, Field(ge=1, le=4)] = 1
    """The number of experts that go on. More than one vote on a closed question; otherwise the most confident
    whole answer is taken."""
    bias: dict[str, Annotated[float, Field(ge=FLOOR, le=-FLOOR)]] = Field(default_factory=dict)
    """Added to an expert's mean log-probability (nats)."""


class _SelfSelectState(TypedDict, total=False):
    verdict: Literal["one", "several", "none"]


class SelfSelect(Strategy):
    """The experts most confident of their first tokens go on."""

    name = "self_select"
    options = SelfSelectOptions

    def graph(self) -> "StateGraph[Any, Any, Any, Any]":
        from langgraph.graph import END, START

        graph = graph_of(_SelfSelectState, begin=_begin, go_on=_go_on, settle=_settle)
        graph.add_edge(START, "begin")
        graph.add_conditional_edges("begin", verdict_of, {"one": "go_on", "several": "settle", "none": END})
        graph.add_edge("go_on", END)
        graph.add_edge("settle", END)
        return graph

    def refuses(self, run: Run) -> str | None:
        options: SelfSelectOptions = run.options
        return run.lacks(*(options.experts or ()), *options.bias)


async def _begin(state: _SelfSelectState, run: Run) -> _SelfSelectState:
    options: SelfSelectOptions = run.options
    most = min(options.candidates, run.calls.account.limits.calls)
    names = list(dict.fromkeys(options.experts or [each.expert for each in run.candidates[:most]]))
    share = run.calls.account.limits.tokens // len(names)
    begun = await asyncio.gather(*(_listen(run, name, options.tokens, share) for name in names))
    live = [each for each in begun if each is not None]
    sure: dict[str, float] = {}
    for each in live:
        mean = signals_of(each.tokens[: options.tokens]).mean
        if mean is None:
            run.degrade(f"{each.expert} reports no log-probabilities, so it counts as unsure.")
        sure[each.expert] = (FLOOR if mean is None else mean) + options.bias.get(each.expert, 0.0)
        each.step.confidence = 0.0 if mean is None else math.exp(mean)
    # Of equally sure ones the better-placed: `live` is in the order of value, and sorting keeps it.
    order = sorted(live, key=lambda each: -sure[each.expert])
    kept, stopped = order[: options.keep], order[options.keep :]
    for each in stopped:
        each.step.detail = "Less sure than another expert, so it was stopped."
    await asyncio.gather(*(each.close() for each in stopped))
    run.trace.values |= {
        "begun": names,
        "sure": {name: round(value, 4) for name, value in sure.items()},
        "kept": [each.expert for each in kept],
    }
    if not kept:
        return {"verdict": "none"}
    run.live = kept
    values = ", ".join(f"{each.expert} {sure[each.expert]:.2f}" for each in order)
    run.note(f"Mean log-probability of the first words: {values}.")
    return {"verdict": "one" if len(kept) == 1 else "several"}


async def _listen(run: Run, expert: str, tokens: int, share: int) -> OpenAnswer | None:
    live = await run.listen(expert, "begin", logprobs=True, token_share=share)
    if live is None:
        return None
    try:
        while live.pieces < tokens and len(live.tokens) < tokens:
            if await live.read() is None:
                break
    except (ExpertError, LimitReached):
        run.degrade(f"{expert} failed in the middle of its answer.")
        return None
    return live


async def _go_on(state: _SelfSelectState, run: Run) -> _SelfSelectState:
    await run.follow(run.live[0])
    return {}


async def _settle(state: _SelfSelectState, run: Run) -> _SelfSelectState:
    finished = await asyncio.gather(*(_finish(run, live) for live in run.live))
    said = [each for each in finished if each is not None]
    run.replies.extend(said)
    if not said:
        return {}
    bias = run.options.bias

    def confidence(each: ExpertAnswer) -> float:
        mean = signals_of(each.tokens).mean
        return float(FLOOR if mean is None else mean) + float(bias.get(each.expert, 0.0))

    surest = max(said, key=confidence)
    kind = kind_of_question(run.messages)
    if kind is not None:
        result = vote([closed_answer(kind, each.text) for each in said], [1.0] * len(said))
        if result is not None and result.share > 0.5:
            surest = said[result.winner]
            run.note(f"The answer of {surest.expert} has {result.share:.0%} of the votes.")
    await run.answer(surest)
    return {}


async def _finish(run: Run, live: OpenAnswer) -> ExpertAnswer | None:
    try:
        return await live.rest()
    except (ExpertError, LimitReached):
        run.degrade(f"{live.expert} failed in the middle of its answer.")
        return None


strategy = SelfSelect()
