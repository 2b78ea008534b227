"""What one run of the script works with: the API, and the shelf of the browser that looks."""

import re
import secrets
import threading
from dataclasses import dataclass

import streamlit as st

from client import AsyncClient
from ui.availability import OfferCache
from ui.background import BackgroundLoop
from ui.conversation_store import Conversation, Library, Pin, Shelf
from ui.settings import ConsoleSettings, read_settings

BROWSER = "session"
"""The query parameter that says which browser this is. It is as good as a key to its conversations."""
CHAT = "chat"
"""The query parameter that says which conversation is open."""
PIN = "pin"
"""The key of the choice of who answers."""
NEWCOMER = "newcomer"
BROWSER_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")


@dataclass(frozen=True, slots=True)
class Backend:
    """Shared by all browsers of this process and one API."""

    loop: BackgroundLoop
    api: AsyncClient
    catalogue: OfferCache
    library: Library


@dataclass(frozen=True, slots=True)
class Console:
    """One window's view of the backend. What is open in it is in the session's state and its address."""

    settings: ConsoleSettings
    backend: Backend
    shelf: Shelf

    @property
    def conversation(self) -> Conversation:
        """The conversation that is open: of this session, else of the address, else a new one."""
        opened: Conversation | None = st.session_state.get(CHAT)
        if opened is None:
            opened = self.shelf.find(st.query_params.get(CHAT, "")) or Conversation()
            self.open(opened)
        return opened

    def open(self, conversation: Conversation) -> None:
        """Show a conversation."""
        st.session_state[CHAT] = conversation

    @property
    def pin(self) -> Pin:
        """Who shall answer, as chosen in this window, else in this browser before."""
        chosen: Pin | None = st.session_state.get(PIN)
        return self.shelf.pin if chosen is None else chosen

    def remember_address(self) -> None:
        """Say in the address who looks at what, so that a reload finds it again.

        Going to another page drops the address's parameters, so this is done on every run.
        """
        wanted = {BROWSER: st.session_state[BROWSER]}
        if self.shelf.find(self.conversation.id) is not None:
            wanted[CHAT] = self.conversation.id
        if st.query_params.to_dict() != wanted:
            st.query_params.from_dict(wanted)


# Not Streamlit's cache: its menu can clear that, and conversations would go with it.
_BACKENDS: dict[ConsoleSettings, Backend] = {}
_BUILDING = threading.Lock()


def backend(settings: ConsoleSettings) -> Backend:
    """The one backend of these settings, built when it is first asked for."""
    with _BUILDING:
        if settings not in _BACKENDS:
            loop = BackgroundLoop()
            api = settings.client()
            library = Library(settings.console_browsers, settings.console_conversations)
            _BACKENDS[settings] = Backend(loop, api, OfferCache(loop, api), library)
        return _BACKENDS[settings]


def close_backends() -> None:
    """End every answer and connection. The next script that runs begins anew."""
    with _BUILDING:
        for one in _BACKENDS.values():
            one.loop.cancel()
            one.loop.run(one.api.close())
            one.loop.close()
        _BACKENDS.clear()


def open_console() -> Console:
    """The console of the window that runs this script."""
    settings = read_settings()
    shared = backend(settings)
    return Console(settings, shared, shared.library.shelf(_browser()))


def _browser() -> str:
    """The browser's id: of this session, else of the address (a reload), else a new one."""
    known: str | None = st.session_state.get(BROWSER)
    if known is None:
        asked = st.query_params.get(BROWSER, "")
        st.session_state[NEWCOMER] = BROWSER_ID.fullmatch(asked) is None
        known = secrets.token_urlsafe(16) if st.session_state[NEWCOMER] else asked
        st.session_state[BROWSER] = known
    return known


def recognise_browser() -> None:
    """Let the browser keep its id, and bring one back that comes without it in the address.

    The id is all that this script gets; it has been checked or made here.
    """
    known = st.session_state[BROWSER]
    newcomer = "true" if st.session_state.get(NEWCOMER) else "false"
    st.html(RECOGNISE % (newcomer, known), unsafe_allow_javascript=True)


RECOGNISE = """
<script>
  {
    const newcomer = %s, id = "%s";
    try {
      const kept = localStorage.getItem("coterie-session");
      if (newcomer && kept && kept !== id && /^[A-Za-z0-9_-]{16,64}$/.test(kept)) {
        const address = new URL(location.href);
        address.search = "?session=" + kept;
        location.replace(address);
      } else {
        localStorage.setItem("coterie-session", id);
      }
    } catch (refused) { /* a browser that keeps nothing starts anew each time */ }
  }
</script>
"""
