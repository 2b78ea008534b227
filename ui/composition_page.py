"""The composition page: which expert a category is mapped to, and the utilities behind that."""

from collections import defaultdict
from typing import Any

import streamlit as st

from client import ExpertInfo
from ui import figures
from ui.availability import Offer
from ui.markdown import plain
from ui.problems import show_problem
from ui.session import Console
from ui.sidebar import DOTS

SHOWN = {"categories", "experts", "files", "map", "policy", "utilities"}
"""Parts of the manifest that the page shows elsewhere, or that no person reads."""


def show_composition(console: Console, offer: Offer) -> None:
    st.title("Composition", anchor=False)
    if offer.problem is not None:
        show_problem(offer.problem)
        st.button("Look again", icon=":material/refresh:", on_click=console.backend.catalogue.forget)
        return
    composition = offer.composition
    answering = len(set(composition.map.values()))
    st.caption(
        f"{len(composition.categories)} categories over {answering} expert{'s' * (answering != 1)} "
        f"· digest `{composition.digest[:12] or 'unknown'}`"
    )
    st.subheader("Who answers what", anchor=False)
    _show_map(offer)
    st.subheader("Expected score by category", anchor=False)
    st.caption(
        "Utility in 0..1 from the outcomes the composition was fitted on; the framed expert is the one the "
        "category is mapped to. The map weighs cost too, so it is not always the darkest cell."
    )
    experts = list(dict.fromkeys(name for row in composition.utilities.values() for name in row))
    st.html(figures.heat(composition.utilities, composition.map, offer.titles, experts))
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Policy", anchor=False)
        _show_facts(composition.policy)
    with right:
        st.subheader("How it was fitted", anchor=False)
        _show_facts({name: value for name, value in composition.manifest.items() if name not in SHOWN})


def _show_map(offer: Offer) -> None:
    served: dict[str, list[str]] = defaultdict(list)
    for category, expert in offer.composition.map.items():
        served[expert].append(offer.composition.title_of(category))
    with st.grid(3, min_column_width=260):
        for card in offer.experts:
            _show_card(card, served.pop(card.name, []))


def _show_card(card: ExpertInfo, categories: list[str]) -> None:
    with st.container(border=True, gap="small"):
        colour = DOTS.get(card.health.state, "gray")
        st.markdown(f"**{plain(card.name)}** :{colour}-badge[{plain(card.health.state)}]")
        st.caption(" · ".join(plain(fact) for fact in facts_of(card)))
        if card.description:
            st.markdown(f":small[{plain(card.description)}]")
        if categories:
            st.markdown(" ".join(f":violet-badge[{plain(title)}]" for title in categories))
        else:
            st.caption("No category is mapped to it; it can be asked by name.")
        if card.health.detail and card.health.state != "up":
            st.caption(plain(card.health.detail))


def facts_of(card: ExpertInfo) -> list[str]:
    """Size, context and abilities of an expert, in a few words each."""
    facts = []
    if card.params_b:
        facts.append(f"{card.params_b:.3g} B parameters")
    if card.active_params_b and card.active_params_b != card.params_b:
        facts.append(f"{card.active_params_b:.3g} B active")
    if card.context_length:
        facts.append(f"{card.context_length:,} tokens of context")
    if card.base:
        facts.append(f"prompt over {card.base}")
    return facts + sorted(card.capabilities)


def _show_facts(facts: dict[str, Any]) -> None:
    """Names and values; what is nested is unfolded with dots, what is a table is left out."""
    rows = list(flat(facts))
    if not rows:
        st.caption("The API says nothing of it.")
        return
    st.html(figures.facts(rows))


def flat(facts: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as (dotted name, text); lists of more than a few items as their length."""
    found: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            found += flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            short = 0 < len(value) <= 4 and not any(isinstance(item, dict | list) for item in value)
            found.append(
                (prefix + name, ", ".join(map(str, value)) if short else f"{len(value) or 'no'} entries")
            )
        elif isinstance(value, float):
            found.append((prefix + name, f"{value:.4g}"))
        elif value is not None:
            found.append((prefix + name, str(value)))
    return found
