"""How a strategy of several experts is shown: its steps, what it decided, and the path it took."""

import streamlit as st

from base.strategy_graph import dot
from client import StrategyTrace, TraceStep
from ui.cost_view import amount
from ui.markdown import plain


def show_trace(trace: StrategyTrace) -> None:
    """The sentences, the picture, the steps."""
    st.markdown(f"**How {plain(trace.strategy.replace('_', ' '))} went**")
    for sentence in trace.notes:
        st.markdown(plain(sentence))
    for sentence in trace.degraded:
        st.markdown(f":orange[:material/warning: {plain(sentence)}]")
    if trace.graph.nodes:
        st.graphviz_chart(dot(trace.document()), width="stretch")
    st.dataframe([_row(step) for step in trace.steps], hide_index=True, key=None)
    totals = trace.totals
    st.caption(
        f"{totals.get('calls', len(trace.steps))} calls · "
        f"{totals.get('prompt_tokens', 0)} + {totals.get('completion_tokens', 0)} tokens · "
        f"{totals.get('ms') or 0:.0f} ms · cost {plain(amount(totals.get('cost'), 'dollars'))}"
    )


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
