"""What a strategy is: a name, options, and a LangGraph graph of steps over one `Run`. Texts belong into the
run and not into the graph's state, which LangGraph's own tracing shows.

    class Shorter(Strategy):
        name = "shorter"

        def graph(self) -> StateGraph: ...

`docs/how-to/write-a-strategy.md` has a whole one.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from app.serving.strategy_trace import Shape
from app.strategies.strategy_run import NODE, Run
from app.telemetry.spans import span
from base.strict_model import StrictModel

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.graph import StateGraph
    from langgraph.graph.state import CompiledStateGraph

StepFunction = Callable[[Any, Run], Awaitable[Mapping[str, Any] | None]]


class StrategyOptions(StrictModel):
    """Options that every strategy has: lower limits than the operator's."""

    max_calls: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Of prompts and answers of all calls together."""
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    max_cost: Annotated[float, Field(ge=0)] | None = None
    """US dollars."""


class Strategy(ABC):
    """One way of asking several experts. An instance serves every request, so it holds no state."""

    name: str
    options: type[StrategyOptions] = StrategyOptions
    honours: ClassVar[frozenset[str]] = frozenset({"response_format"})
    """Of `tools`, `response_format` and `n`: those that its answers keep to. A request that needs another
    one is answered by one expert."""
    least_experts: ClassVar[int] = 2
    """Experts that must be able to answer; with fewer there is nothing to combine."""

    @abstractmethod
    def graph(self) -> "StateGraph[Any, Any, Any, Any]":
        """The graph, not compiled. Its context is a Run; add its steps with `add_step`."""

    def refuses(self, run: Run) -> str | None:
        """Why this request is better answered by one expert, as the end of a sentence; None when it is
        not. Asked before anything is spent."""
        return None


def graph_of(state: type, **steps: StepFunction) -> "StateGraph[Any, Any, Any, Any]":
    """A graph over `state` with these nodes, and no edges yet."""
    from langgraph.graph import StateGraph

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(state, context_schema=Run)
    for name, step in steps.items():
        add_step(graph, name, step)
    return graph


def verdict_of(state: Mapping[str, Any]) -> str:
    """Which edge to take, by the `verdict` that a step left in the state."""
    verdict: str = state["verdict"]
    return verdict


def add_step(graph: "StateGraph[Any, Any, Any, Any]", name: str, step: StepFunction) -> None:
    """Add `step` as the node `name`: the trace, the picture and the spans show when it ran."""

    # LangGraph hands over the configuration only where it finds this very annotation.
    async def node(state: Any, config: "RunnableConfig", runtime: Any) -> Mapping[str, Any]:
        run: Run = runtime.context
        run.trace.visited.append((config["metadata"]["langgraph_step"], name))
        NODE.set(name)
        with span("coterie.step", {"coterie.strategy": run.trace.strategy, "coterie.node": name}):
            return await step(state, run) or {}

    action: Any = node
    graph.add_node(name, action)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A strategy that is ready to run."""

    strategy: Strategy
    graph: "CompiledStateGraph[Any, Any, Any, Any]"
    shape: Shape


def compile_strategy(strategy: Strategy) -> Compiled:
    """Compile once; no checkpointer: nothing of a request outlives it."""
    graph = strategy.graph().compile()
    drawn = graph.get_graph()
    return Compiled(
        strategy,
        graph,
        Shape(
            nodes=tuple(str(node) for node in drawn.nodes),
            edges=tuple((edge.source, edge.target, str(edge.data or "")) for edge in drawn.edges),
        ),
    )
