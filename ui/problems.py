"""How an error is told to a person: what happened in the API's words, what to do, the code to search for."""

import streamlit as st

from client import ApiError
from ui.markdown import plain


def show_problem(error: ApiError, *, note: str = "") -> None:
    """One box: message, hint, code; `note` is added when there is more to say here."""
    lines = [f"**{plain(error.message)}**"]
    if error.hint or note:
        lines.append(" ".join(part for part in (error.hint, note) if part))
    lines.append(f":small[:gray[{plain(error.code)}]]")
    st.error("\n\n".join(lines), icon=":material/error:")
