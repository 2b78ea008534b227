"""How a strategy of several experts is shown: its steps, what it decided, and the path it took."""

from collections.abc import Sequence

import streamlit as st

from ui.documents import StrategyTrace, TraceStep
from ui.markdown import plain

ENDS = {"__start__": "request", "__end__": "answer"}
TAKEN, IDLE, FAILED, FAINT = "#6d4aff", "#b9bdcb", "#c0392b", "#8a8f9f"


def show_trace(trace: StrategyTrace) -> None:
    """The sentences, the picture, the steps."""
    st.markdown(f"**How {plain(trace.strategy.replace('_', ' '))} went**")
    for sentence in trace.notes:
        st.markdown(plain(sentence))
    for sentence in trace.degraded:
        st.markdown(f":orange[:material/warning: {plain(sentence)}]")
    if trace.graph.nodes:
        st.graphviz_chart(graph_source(trace), width="stretch")
    st.dataframe([_row(step) for step in trace.steps], hide_index=True, key=None)
    totals = trace.totals
    st.caption(
        f"{totals.get('calls', len(trace.steps))} calls · "
        f"{totals.get('prompt_tokens', 0)} + {totals.get('completion_tokens', 0)} tokens · "
        f"{totals.get('ms') or 0:.0f} ms · ${totals.get('cost') or 0:.5f}"
    )


def graph_source(trace: StrategyTrace) -> str:
    """The graph in DOT, the path marked."""
    path = set(trace.graph.path)
    visited = {name for edge in path for name in edge}
    failed = {step.node for step in trace.steps if step.status == "failed"}
    names = {name: f"n{index}" for index, name in enumerate(trace.graph.nodes)}
    lines = [
        "digraph {",
        "rankdir=LR; bgcolor=transparent;",
        'node [shape=box style=rounded fontname="sans-serif" fontsize=11];',
        'edge [fontname="sans-serif" fontsize=9];',
    ]
    for name in trace.graph.nodes:
        label = "\\n".join(_quoted(line) for line in _lines(name, trace.steps))
        colour = FAILED if name in failed else TAKEN if name in visited else IDLE
        font = "" if name in visited else f' fontcolor="{FAINT}"'
        lines.append(f'{names[name]} [label="{label}" color="{colour}"{font}];')
    for source, target, label in trace.graph.edges:
        if source in names and target in names:
            colour = TAKEN if (source, target) in path else IDLE
            words = "" if label == target else _quoted(label.replace("_", " "))
            lines.append(
                f'{names[source]} -> {names[target]} [label="{words}" color="{colour}" fontcolor="{colour}"];'
            )
    return "\n".join([*lines, "}"])


def _lines(name: str, steps: Sequence[TraceStep]) -> list[str]:
    calls = [step for step in steps if step.node == name]
    return [
        ENDS.get(name, name.replace("_", " ")),
        *(f"{s.expert}: {s.completion_tokens} tokens" for s in calls),
    ]


def _row(step: TraceStep) -> dict[str, str | int | float | None]:
    return {
        "Step": step.node.replace("_", " "),
        "Expert": step.expert,
        "For": step.purpose,
        "Tokens in": step.prompt_tokens,
        "Tokens out": step.completion_tokens,
        "ms": None if step.ms is None else round(step.ms),
        "Confidence": step.confidence,
        "Status": step.status,
        "Detail": step.detail,
    }


def _quoted(text: str) -> str:
    """Text inside DOT's double quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
