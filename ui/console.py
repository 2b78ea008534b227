"""The console's entry page: `streamlit run ui/console.py`."""

import sys
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent
# Streamlit puts this file's folder on the path, not the project's.
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import streamlit as st  # noqa: E402
from pydantic import ValidationError  # noqa: E402

from ui.chat_page import show_chat  # noqa: E402
from ui.composition_page import show_composition  # noqa: E402
from ui.decisions_page import show_decisions  # noqa: E402
from ui.session import open_console, recognise_browser  # noqa: E402
from ui.sidebar import show_sidebar  # noqa: E402

LOGO, ICON = ROOT / "ui" / "logo.svg", ROOT / "ui" / "icon.svg"


def main() -> None:
    st.set_page_config(page_title="Coterie", page_icon=str(ICON))
    st.logo(str(LOGO), icon_image=str(ICON), size="large")
    try:
        console = open_console()
    except ValidationError as error:
        wrong = ", ".join(f"COTERIE_{'_'.join(map(str, item['loc'])).upper()}" for item in error.errors())
        st.error(f"The console cannot start: {wrong} has a value that means nothing.")
        st.stop()
    offer = console.backend.catalogue.offer()
    pages = [
        st.Page(
            lambda: show_chat(console, offer),
            title="Chat",
            icon=":material/chat:",
            url_path="chat",
            default=True,
        ),
        st.Page(
            lambda: show_decisions(console, offer),
            title="Decisions",
            icon=":material/alt_route:",
            url_path="decisions",
        ),
        st.Page(
            lambda: show_composition(console, offer),
            title="Composition",
            icon=":material/grid_view:",
            url_path="composition",
        ),
    ]
    page = st.navigation(pages, position="top")
    chat = pages[0]
    layout: Literal["centered", "wide"] = "centered" if page is chat else "wide"
    st.set_page_config(page_title=f"{page.title} · Coterie", layout=layout)
    show_sidebar(console, offer, chat)
    console.remember_address()
    page.run()
    recognise_browser()


main()
