"""The sidebar: conversations, who shall answer, and how the experts are."""

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from client import ExpertInfo
from ui.availability import Offer
from ui.conversation_store import Conversation, Pin
from ui.markdown import plain
from ui.session import PIN, Console

SHOWN = 12
"""Conversations listed before the rest is folded away."""
HEALTH_EVERY_S = 10
DOTS = {"up": "green", "down": "red", "starting": "orange", "waking": "orange", "asleep": "blue"}


def show_sidebar(console: Console, offer: Offer, chat: StreamlitPage) -> None:
    with st.sidebar:
        if st.button("New chat", icon=":material/edit_square:", width="stretch", key="new-chat"):
            console.open(Conversation())
            st.switch_page(chat)
        _show_conversations(console, chat)
        _show_pin(console, offer)
        _show_health(console, offer)


def _show_conversations(console: Console, chat: StreamlitPage) -> None:
    conversations = console.shelf.conversations
    if not conversations:
        return
    st.caption("Conversations")
    with st.container(gap="xxsmall"):
        _list(console, chat, 0, SHOWN)
    if len(conversations) > SHOWN:
        with st.expander(f"Older ({len(conversations) - SHOWN})", type="compact"):
            _list(console, chat, SHOWN, None)


def _list(console: Console, chat: StreamlitPage, start: int, end: int | None) -> None:
    for conversation in console.shelf.conversations[start:end]:
        chosen = conversation is console.conversation
        if st.button(
            plain(conversation.title),
            key=f"open-{conversation.id}",
            type="secondary" if chosen else "tertiary",
            icon=":material/more_horiz:" if conversation.live else ":material/chat_bubble:",
            width="stretch",
            wrap=False,
        ):
            console.open(conversation)
            st.switch_page(chat)


def _show_pin(console: Console, offer: Offer) -> None:
    pins = [Pin(), *(Pin(expert=card.name) for card in offer.experts)]
    pins += [Pin(category=card.name) for card in offer.composition.categories]
    if console.shelf.pin not in pins:
        pins.append(console.shelf.pin)
    st.space("small")
    console.shelf.pin = st.selectbox(
        "Who answers",
        pins,
        index=pins.index(console.shelf.pin),
        format_func=lambda pin: name_of(pin, offer),
        key=PIN,
        help="Automatic lets Coterie classify each message and choose the expert. "
        "Pin an expert to always ask it, or a category to skip classification.",
    )


def name_of(pin: Pin, offer: Offer) -> str:
    """A pin as the person reads it."""
    if pin.expert is not None:
        return f"Expert · {pin.expert}"
    if pin.category is not None:
        return f"Category · {offer.composition.title_of(pin.category)}"
    return "Automatic"


def _show_health(console: Console, shown: Offer) -> None:
    @st.fragment(run_every=HEALTH_EVERY_S)
    def health() -> None:
        offer = console.backend.catalogue.offer()
        if (offer.problem is None) != (shown.problem is None):
            st.rerun()
        if offer.problem is not None:
            st.markdown(f":red-badge[:material/cloud_off: API not available] {plain(offer.problem.message)}")
            return
        st.caption("Experts")
        ailing = [card for card in offer.experts if card.health.state != "up" and card.health.detail]
        st.markdown(
            "  \n".join(_health_line(card) for card in offer.experts),
            help="\n\n".join(f"**{plain(card.name)}**: {plain(str(card.health.detail))}" for card in ailing)
            or None,
        )

    st.space("small")
    health()


def _health_line(card: ExpertInfo) -> str:
    colour = DOTS.get(card.health.state, "gray")
    size = f"{card.params_b:.3g} B" if card.params_b else ""
    facts = " · ".join(part for part in (size, card.health.state) if part)
    return f":{colour}[●] {plain(card.name)} :small[:gray[{plain(facts)}]]"
