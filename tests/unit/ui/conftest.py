"""The console's tests: a stand-in API on loopback and the real pages over it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from client import AsyncClient
from tests.unit.ui.api_server import Running, run_api
from ui.background import BackgroundLoop
from ui.session import close_backends
from ui.settings import ConsoleSettings

CONSOLE = Path(__file__).parents[3] / "ui" / "console.py"
NOBODY = "http://127.0.0.1:9"
"""The discard port: refused at once."""


@pytest.fixture
def server() -> Iterator[Running]:
    with run_api() as running:
        yield running


@pytest.fixture
def loop() -> Iterator[BackgroundLoop]:
    loop = BackgroundLoop()
    yield loop
    loop.close()


@pytest.fixture
def api(server: Running, loop: BackgroundLoop) -> Iterator[AsyncClient]:
    api = ConsoleSettings(api_url=server.url).client()
    yield api
    loop.run(api.close())


@pytest.fixture
def open_page(server: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AppTest]]:
    """Opens the console as a browser does, with the address of another page when it is given."""

    def open_it(like: AppTest | None = None, api_url: str | None = None) -> AppTest:
        monkeypatch.setenv("COTERIE_API_URL", api_url or server.url)
        page = AppTest.from_file(CONSOLE, default_timeout=20)
        if like is not None:
            for name, value in like.query_params.items():
                page.query_params[name] = value
        page.run()
        assert not page.exception
        return page

    yield open_it
    close_backends()


def ask(page: AppTest, question: str) -> AppTest:
    """Type a question, and look until its answer has ended."""
    page.chat_input[0].set_value(question).run()
    return until_ended(page)


def until_ended(page: AppTest, seconds: float = 20) -> AppTest:
    """Look again until nothing can be stopped any more."""
    deadline = time.monotonic() + seconds
    while stop_buttons(page):
        assert time.monotonic() < deadline, "the answer does not end"
        time.sleep(0.05)
        page.run()
    assert not page.exception
    return page


def stop_buttons(page: AppTest) -> list[str]:
    """The keys of the stop buttons on the page."""
    return [button.key for button in page.button if button.key and button.key.startswith("stop-")]


def texts(page: AppTest) -> str:
    """Everything the page says in its main part, joined."""
    parts = [element.value for kind in (page.main.markdown, page.main.caption) for element in kind]
    parts += [element.value for kind in (page.main.error, page.main.text) for element in kind]
    parts += [str(element.value) for element in page.main.html]
    return "\n".join(str(part) for part in parts)
