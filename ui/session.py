"""What one run of the script works with: the API, and the shelf of the browser that looks."""

import re
import secrets
import threading
from dataclasses import dataclass

import streamlit as st

from ui.api import CoterieApi
from ui.background import BackgroundLoop
from ui.catalogue import Catalogue
from ui.conversations import Library, Shelf
from ui.settings import ConsoleSettings, read_settings

BROWSER = "session"
"""The query parameter that says which browser this is. It is as good as a key to its conversations."""
BROWSER_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")


@dataclass(frozen=True, slots=True)
class Backend:
    """Shared by all browsers of this process and one API."""

    loop: BackgroundLoop
    api: CoterieApi
    catalogue: Catalogue
    library: Library


@dataclass(frozen=True, slots=True)
class Console:
    """One browser's view of the backend."""

    settings: ConsoleSettings
    backend: Backend
    shelf: Shelf


# Not Streamlit's cache: its menu can clear that, and conversations would go with it.
_BACKENDS: dict[ConsoleSettings, Backend] = {}
_BUILDING = threading.Lock()


def backend(settings: ConsoleSettings) -> Backend:
    """The one backend of these settings, built when it is first asked for."""
    with _BUILDING:
        if settings not in _BACKENDS:
            loop = BackgroundLoop()
            api = CoterieApi(settings)
            library = Library(settings.console_browsers, settings.console_conversations)
            _BACKENDS[settings] = Backend(loop, api, Catalogue(loop, api), library)
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
    """The console of the browser that runs this script."""
    settings = read_settings()
    shared = backend(settings)
    return Console(settings, shared, shared.library.shelf(_browser()))


def _browser() -> str:
    """The browser's id: of this session, else of the address (a reload), else a new one.

    Going to another page drops the parameter, so it is put back on every run.
    """
    known: str | None = st.session_state.get(BROWSER)
    if known is None:
        asked = st.query_params.get(BROWSER, "")
        known = asked if BROWSER_ID.fullmatch(asked) else secrets.token_urlsafe(16)
        st.session_state[BROWSER] = known
    if st.query_params.get(BROWSER) != known:
        st.query_params[BROWSER] = known
    return known
