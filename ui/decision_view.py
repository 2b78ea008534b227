"""How a decision is shown: one line under its answer, and everything behind it on demand."""

from collections.abc import Mapping

import streamlit as st

from client import CategoryShare, RoutingDecision, readable
from ui import figures
from ui.cost_view import cost_rows
from ui.markdown import plain
from ui.prompt_view import show_prompt
from ui.strategy_view import show_trace

REASONS: dict[str, tuple[str, str]] = {
    "matched": ("green", "The category is clear, and this expert has the best value in it."),
    "uncertain": ("orange", "The category is not clear, so the generalist answers."),
    "pinned": ("blue", "You chose the expert or the category."),
    "rule": ("blue", "An operator's rule chose."),
    "sticky": ("gray", "The conversation's expert stays: changing would gain too little."),
    "held": ("gray", "A tool call of this expert is open, so nobody else may answer."),
    "filtered": ("orange", "The first choice cannot take this request, so the next best answers."),
    "explored": ("gray", "An expert drawn at random answers, to learn how it does."),
    "limited": (
        "orange",
        "The key's quota of escalations is used up, so an expert within its price answers.",
    ),
    "spilled": ("red", "The chosen expert was unavailable, so the next best answers."),
}
"""Colour and meaning of each reason."""


def headline(decision: RoutingDecision, titles: Mapping[str, str], facts: tuple[str, ...] = ()) -> str:
    """Expert, category, probability and reason in one line of Markdown, with `facts` behind it."""
    colour, _ = REASONS.get(decision.reason, ("gray", ""))
    parts = [f":violet-badge[{plain(decision.expert)}]"]
    if decision.category is not None:
        title = plain(titles.get(decision.category) or readable(decision.category))
        probability = "" if decision.probability is None else f" · {figures.percent(decision.probability)}"
        parts.append(f":gray-badge[{title}{probability}]")
    elif decision.classification == "unclassified":
        parts.append(":gray-badge[No clear category]")
    parts.append(f":{colour}-badge[{plain(decision.reason)}]")
    if decision.trace is not None:
        parts.append(f":blue-badge[{plain(decision.strategy)}]")
    if facts:
        parts.append(f":small[:gray[{' · '.join(facts)}]]")
    return " ".join(parts)


def show_decision(decision: RoutingDecision, titles: Mapping[str, str]) -> None:
    """The sentence, the ranking, the categories and how familiar the request was."""
    _, meaning = REASONS.get(decision.reason, ("gray", ""))
    st.markdown(plain(decision.detail) if decision.detail else meaning)
    if decision.spilled_from:
        st.markdown(f":red[{plain(decision.spilled_from)} was chosen first and could not answer.]")
    if decision.strategy_detail:
        st.markdown(f"Strategy {plain(decision.strategy)}: {plain(decision.strategy_detail)}")
    if decision.trace is not None:
        show_trace(decision.trace)
    if decision.ranking:
        st.html(figures.ranking(decision.ranking, decision.expert))
        st.caption(
            "Value = utility (expected score in this request's categories) + correction (what the request "
            "itself adds) − cost (active parameters, dollars, compute, leaving the conversation's expert)."
        )
    left, right = st.columns([3, 2], gap="large")
    with left:
        _show_categories(decision, titles)
    with right:
        _show_novelty(decision)
        _show_cost(decision)
    show_prompt(decision)
    st.caption(
        f"Decision `{decision.id}` · strategy {plain(decision.strategy)} · "
        f"composition `{decision.composition[:12]}`"
    )


def _show_categories(decision: RoutingDecision, titles: Mapping[str, str]) -> None:
    rows = list(decision.runners_up)
    if decision.category is not None and decision.probability is not None:
        rows.insert(0, CategoryShare(category=decision.category, probability=decision.probability))
    st.markdown("**Categories considered**")
    if rows:
        st.html(figures.probabilities(rows, titles))
    else:
        st.caption("None: the choice was made without classifying the request.")


def _show_novelty(decision: RoutingDecision) -> None:
    st.markdown("**How unusual it is**")
    if decision.ood_score is None:
        st.caption("Not measured for this request.")
        return
    st.html(figures.meter(decision.ood_score, f"{decision.ood_score:.2f}"))
    st.caption(
        f"Farther from known requests than {figures.percent(decision.ood_score)} of those held out. "
        "Only the farthest go to the generalist for it."
    )


def _show_cost(decision: RoutingDecision) -> None:
    st.markdown("**What it cost**")
    rows = cost_rows(decision)
    if rows:
        st.html(figures.facts(rows))
    else:
        st.caption("Not known: no tokens were measured of these experts.")
