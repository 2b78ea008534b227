"""The console in a real headless browser, over the real service with a shipped composition.

The experts behind it are fakes, so that it runs in seconds; `test_real_vllm.py` has real ones.
With COTERIE_PICTURES=1 the picture in the docs is taken anew.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import yaml
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from app.settings import Settings
from experts.fake import Behaviour, RunningFake, run_fake_expert
from routers.composition import Composition, load_composition
from routers.encoder import Encoder
from tests.e2e.serving import serving

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "images" / "console.png"
COMPOSITION = ROOT / "routers" / "compositions" / "cpu"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

PICTURES = bool(os.environ.get("COTERIE_PICTURES"))
SCALE = 1.5 if PICTURES else 1

CODE = "Write a Python function that tells whether a string is a palindrome. Ignore spaces and case."
TALK = "Hey there! How are you doing today?"
PROGRAM = """\
Compare the cleaned text with its reverse:

```python
def is_palindrome(text: str) -> bool:
    cleaned = [c.lower() for c in text if c.isalnum()]
    return cleaned == cleaned[::-1]
```

- **Cleaning** drops spaces and punctuation and ignores case.
- **Comparing** a list with its reverse takes linear time.
"""


def behave(body: Mapping[str, Any]) -> Behaviour:
    """A word after `!` in the question says what the expert does."""
    question = str(body["messages"][-1]["content"])
    if "!slow" in question:
        return Behaviour(reply="word " * 400, token_delay_s=0.05)
    if "!dies" in question:
        return Behaviour(reply="This much came and then " * 3, die_after=4)
    if "palindrome" in question:
        return Behaviour(reply=PROGRAM, token_delay_s=0.01)
    return Behaviour(reply="Hello! I am doing well, thank you. What shall we talk about?", token_delay_s=0.01)


@dataclass
class Stack:
    """A running console and what is behind it."""

    url: str
    api_url: str
    composition: Composition
    fakes: Mapping[str, RunningFake]

    def decisions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx2.get(f"{self.api_url}/v1/decisions").json()["data"]
        return found

    @property
    def cancelled(self) -> int:
        return sum(fake.log.cancelled for fake in self.fakes.values())


@dataclass
class Watched:
    """A page, with what it complained of and whom it asked beyond this machine."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)
        self.page.on("request", lambda request: self._check(request.url))

    def _hear(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self.complaints.append(said.text)

    def _check(self, url: str) -> None:
        if urlsplit(url).hostname not in {"127.0.0.1", None, ""}:
            self.complaints.append(f"asked {url}")


def chromium() -> str:
    """The browser's path."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return found or pytest.skip("no Chromium: install it (apt-get install chromium) to test the console")


@contextmanager
def fake_registry(file: Path) -> Iterator[Mapping[str, RunningFake]]:
    """Write experts/cpu.yaml to `file` with fakes in place of its servers."""
    content = yaml.safe_load((ROOT / "experts" / "cpu.yaml").read_text(encoding="utf-8"))
    fakes = {}
    with ExitStack() as running:
        for expert in content["experts"]:
            if expert.pop("local", None) is not None:
                fake = run_fake_expert(behave, name=expert["name"], models=[expert["model"]])
                fakes[expert["name"]] = running.enter_context(fake)
                expert["endpoint"] = fakes[expert["name"]].endpoint
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        yield fakes


@contextmanager
def console(api_url: str, log: Path) -> Iterator[str]:
    """The console as `coterie up` starts it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "ui" / "console.py")]
    command += ["--server.address", "127.0.0.1", "--server.port", str(port), "--server.headless", "true"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COTERIE_API_URL": api_url}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not answers(f"{url}/_stcore/health"):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2).is_success
    except httpx2.HTTPError:
        return False


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = chromium()
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def stack(browser: Browser, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("console")
    with ExitStack() as running:
        fakes = running.enter_context(fake_registry(folder / "experts.yaml"))
        settings = Settings(
            experts=folder / "experts.yaml",
            composition=COMPOSITION,
            data=folder / "var",
            database_url=None,
        )
        api_url = running.enter_context(serving(settings))
        url = running.enter_context(console(api_url, folder / "console.log"))
        yield Stack(url, api_url, load_composition(COMPOSITION), fakes)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(viewport={"width": 1280, "height": 900}, device_scale_factor=SCALE) as opened:
        yield opened


@pytest.fixture
def watched(context: BrowserContext, stack: Stack) -> Iterator[Watched]:
    watched = Watched(context.new_page())
    watched.page.goto(stack.url)
    expect(box(watched.page)).to_be_visible(timeout=60_000)
    yield watched
    assert watched.complaints == []


def box(page: Page) -> Any:
    return page.get_by_test_id("stChatInputTextArea")


def ask(page: Page, question: str, *, wait: bool = True) -> None:
    """Type a question; wait until its answer has ended."""
    asked = page.get_by_text("Why this expert").count()
    box(page).fill(question)
    box(page).press("Enter")
    if wait:
        expect(page.get_by_text("Why this expert")).to_have_count(asked + 1, timeout=30_000)


def test_questions_of_two_kinds_are_answered_with_their_reasons(watched: Watched, stack: Stack) -> None:
    page = watched.page
    ask(page, TALK)
    ask(page, CODE)
    talked, coded = page.get_by_test_id("stChatMessage").nth(1), page.get_by_test_id("stChatMessage").nth(3)
    expect(talked).to_contain_text("What shall we talk about?")
    expect(coded).to_contain_text("cleaned == cleaned[::-1]")
    second, first = stack.decisions()[:2]
    for message, decision, title in ((talked, first, "Small talk"), (coded, second, "Coding")):
        expect(message).to_contain_text(decision["expert"])
        expect(message).to_contain_text(title)
        expect(message).to_contain_text(decision["reason"])
    assert second["expert"] == stack.composition.map["coding"]
    coded.get_by_text("Why this expert").click()
    expect(coded.get_by_role("row").filter(has_text="answers")).to_contain_text(second["expert"])
    expect(coded).to_contain_text(second["detail"])
    expect(page.get_by_test_id("stSidebar")).to_contain_text("qwen-coder 1.54 B · up")
    if PICTURES:
        page.set_viewport_size({"width": 1280, "height": 1330})
        page.mouse.move(5, 1300)
        page.wait_for_timeout(1500)
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=PICTURE)


def test_an_answer_outlives_clicks_and_a_reload(watched: Watched) -> None:
    page = watched.page
    ask(page, "!slow please", wait=False)
    expect(page.get_by_text("word word")).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="New chat").click()
    expect(page.get_by_text("word word")).to_have_count(0)
    page.get_by_role("button", name="!slow please").click()
    expect(page.get_by_text("word word")).to_be_visible()
    page.reload()
    expect(page.get_by_text("word word")).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("You stopped this answer")).to_be_visible()


def test_a_browser_that_comes_back_finds_its_conversations(watched: Watched, stack: Stack) -> None:
    page = watched.page
    ask(page, TALK)
    page.goto(stack.url)
    page.get_by_role("button", name="Hey there!").click(timeout=20_000)
    expect(page.get_by_text("What shall we talk about?")).to_be_visible()


def test_stopping_keeps_the_text_and_frees_the_expert(watched: Watched, stack: Stack) -> None:
    page = watched.page
    before = stack.cancelled
    ask(page, "!slow again", wait=False)
    expect(page.get_by_text("word word")).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("You stopped this answer")).to_be_visible()
    expect(page.get_by_text("word word")).to_be_visible()
    deadline = time.monotonic() + 10
    while stack.cancelled == before:
        assert time.monotonic() < deadline, "the expert goes on"
        time.sleep(0.05)


def test_what_is_typed_during_an_answer_waits_in_the_box(watched: Watched) -> None:
    page = watched.page
    ask(page, "!slow once more", wait=False)
    expect(page.get_by_role("button", name="Stop")).to_be_visible(timeout=20_000)
    ask(page, "Next question", wait=False)
    expect(page.get_by_text("Still answering.")).to_be_visible()
    expect(box(page)).to_have_value("Next question")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("You stopped this answer")).to_be_visible()


def test_an_expert_that_dies_leaves_its_words_and_a_reason(watched: Watched) -> None:
    page = watched.page
    ask(page, "!dies")
    expect(page.get_by_text("This much came")).to_be_visible()
    expect(page.get_by_test_id("stAlert")).to_contain_text("What had come is kept above.")
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_a_pinned_expert_answers(watched: Watched, stack: Stack) -> None:
    page = watched.page
    page.get_by_role("combobox", name="Who answers").click()
    page.get_by_role("option", name="Expert · smollm2", exact=True).click()
    expect(page.get_by_text("Expert · smollm2 answers")).to_be_visible()
    ask(page, CODE)
    newest = stack.decisions()[0]
    assert (newest["expert"], newest["reason"]) == ("smollm2", "pinned")


def test_a_thumb_and_a_comment_reach_the_service(watched: Watched, stack: Stack) -> None:
    page = watched.page
    ask(page, TALK)
    page.get_by_test_id("stFeedback").get_by_role("radio", name="Thumbs up").click()
    expect(page.get_by_text("Your rating is recorded.")).to_be_visible()
    page.get_by_role("button", name="Comment").click()
    page.get_by_label("What should be better or stay?").fill("Friendly and short.")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_text("You said: Friendly and short.")).to_be_visible()
    feedback = stack.decisions()[0]["feedback"]
    assert [(item["rating"], item["comment"]) for item in feedback] == [(1, None), (1, "Friendly and short.")]


def test_the_other_pages_show_what_was_decided_and_why(watched: Watched, stack: Stack) -> None:
    page = watched.page
    ask(page, TALK)
    known = page.url
    page.get_by_role("link", name="Decisions").click()
    expect(page.get_by_text("Average active parameters")).to_be_visible()
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    page.get_by_role("link", name="Composition").click()
    expect(page.get_by_text("Who answers what")).to_be_visible()
    heat = page.get_by_role("row", name=re.compile(r"^Coding\b"))
    utility = max(stack.composition.utilities[stack.composition.categories.index("coding")])
    expect(heat).to_contain_text(f"{utility:.2f}")
    page.get_by_role("link", name="Chat").click()
    expect(page.get_by_text("What shall we talk about?")).to_be_visible()
    assert urlsplit(page.url).query == urlsplit(known).query


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark")])
def test_a_phone_needs_no_sideways_scrolling(browser: Browser, stack: Stack, width: int, scheme: Any) -> None:
    with browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme) as phone:
        page = phone.new_page()
        page.goto(stack.url)
        expect(box(page)).to_be_visible(timeout=60_000)
        ask(page, CODE)
        page.get_by_text("Why this expert").click()
        expect(page.get_by_text("Categories considered")).to_be_visible()
        wide = page.evaluate("document.scrollingElement.scrollWidth")
        table = page.get_by_role("table").first.bounding_box()
        assert wide <= width
        assert table is not None and table["x"] + table["width"] <= width
