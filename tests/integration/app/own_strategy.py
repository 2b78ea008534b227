"""Strategies that a user got wrong."""

import asyncio
from typing import TYPE_CHECKING, Any, TypedDict

from app.strategies.strategy import Strategy, add_step
from app.strategies.strategy_run import Run

if TYPE_CHECKING:
    from langgraph.graph import StateGraph


class State(TypedDict, total=False):
    asked: list[str]


async def ask_two(state: State, run: Run) -> State:
    names = [candidate.expert for candidate in run.candidates[:2]]
    await asyncio.gather(*(run.ask(name, "answer") for name in names))
    return {"asked": names}


class Broken(Strategy):
    name = "broken"

    def graph(self) -> "StateGraph[Any, Any, Any, Any]":
        from langgraph.graph import END, START, StateGraph

        graph: StateGraph[Any, Any, Any, Any] = StateGraph(State, context_schema=Run)
        add_step(graph, "ask", ask_two)
        add_step(graph, "crash", crash)
        graph.add_edge(START, "ask")
        graph.add_edge("ask", "crash")
        graph.add_edge("crash", END)
        return graph


async def crash(state: State, run: Run) -> None:
    raise KeyError("a mistake in a user's strategy")


class Hasty(Strategy):
    """Fails before it asked anybody."""

    name = "hasty"

    def graph(self) -> "StateGraph[Any, Any, Any, Any]":
        from langgraph.graph import END, START, StateGraph

        graph: StateGraph[Any, Any, Any, Any] = StateGraph(State, context_schema=Run)
        add_step(graph, "crash", crash)
        graph.add_edge(START, "crash")
        graph.add_edge("crash", END)
        return graph


class Late(Strategy):
    """Fails after it answered."""

    name = "late"

    def graph(self) -> "StateGraph[Any, Any, Any, Any]":
        from langgraph.graph import END, START, StateGraph

        graph: StateGraph[Any, Any, Any, Any] = StateGraph(State, context_schema=Run)
        add_step(graph, "answer", answer_best)
        add_step(graph, "crash", crash)
        graph.add_edge(START, "answer")
        graph.add_edge("answer", "crash")
        graph.add_edge("crash", END)
        return graph


async def answer_best(state: State, run: Run) -> None:
    await run.answer_from(run.candidates[0].expert, "answer")


class Greedy(Strategy):
    """Asks for ever."""

    name = "greedy"

    def graph(self) -> "StateGraph[Any, Any, Any, Any]":
        from langgraph.graph import START, StateGraph

        graph: StateGraph[Any, Any, Any, Any] = StateGraph(State, context_schema=Run)
        add_step(graph, "more", more)
        graph.add_edge(START, "more")
        graph.add_edge("more", "more")
        return graph


async def more(state: State, run: Run) -> None:
    await run.ask(run.candidates[0].expert, "more")


broken = Broken()
hasty = Hasty()
late = Late()
greedy = Greedy()
