"""The pages of decisions and of the composition, over the stand-in API."""

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from tests.unit.ui.api_server import Running
from tests.unit.ui.conftest import NOBODY, ask, texts

Open = Callable[..., AppTest]


def show(name: str) -> None:
    """The script of one page alone; AppTest switches between pages of files only."""
    from ui.composition_page import show_composition
    from ui.decisions_page import show_decisions
    from ui.session import open_console

    console = open_console()
    pages = {"decisions": show_decisions, "composition": show_composition}
    pages[name](console, console.backend.catalogue.offer())


def go(page: AppTest, name: str) -> AppTest:
    """Open another page in the same browser."""
    other = AppTest.from_function(show, default_timeout=20, args=(name,))
    other.query_params["session"] = page.query_params["session"]
    other.run()
    assert not other.exception
    return other


def test_decisions_are_listed_newest_first(open_page: Open) -> None:
    page = go(ask(ask(open_page(), "Write a function"), "Hello"), "decisions")
    table = page.dataframe[0].value
    assert list(table["Expert"]) == ["small", "coder"]
    assert list(table["Category"]) == ["Small talk", "Coding"]
    assert [metric.value for metric in page.metric][:3] == ["2", "0.82 B", "57 ms"]


def test_decisions_show_what_was_expected_what_was_spent_and_the_alternative(open_page: Open) -> None:
    page = go(ask(open_page(), "Write a function"), "decisions")
    row = page.dataframe[0].value.iloc[0]
    assert [row[name] for name in ("Expected", "Did cost", "Alternative")] == [150, 31.5, 150]
    assert "−79%" in [metric.value for metric in page.metric]


def test_of_unknown_costs_the_list_says_nothing(open_page: Open, server: Running) -> None:
    page = ask(open_page(), "Write a function")
    unknown = ("expected_compute", "alternative_compute", "compute")
    server.log.decisions[0].update(dict.fromkeys(unknown))
    page = go(page, "decisions")
    assert page.dataframe[0].value[["Expected", "Did cost", "Alternative"]].isna().all(axis=None)
    assert "Not known" in texts(page)


def test_filters_are_asked_of_the_api(open_page: Open, server: Running) -> None:
    page = go(ask(ask(open_page(), "Write a function"), "Hello"), "decisions")
    page.selectbox(key="by-expert").select("coder").run()
    assert server.log.queries[-1] == {"limit": "50", "expert": "coder"}
    assert len(page.dataframe[0].value) == 1
    page.selectbox(key="by-reason").select("rule").run()
    assert "filters" in page.info[0].value


def test_more_decisions_than_one_answer_holds_are_read_page_by_page(open_page: Open, server: Running) -> None:
    page = ask(open_page(), "Write a function")
    server.log.decisions *= 450
    page = go(page, "decisions")
    page.selectbox(key="newest").select("1000").run()
    assert len(page.dataframe[0].value) == 450
    assert [query["limit"] for query in server.log.queries[-3:]] == ["200", "200", "200"]


def test_a_selected_decision_is_explained(open_page: Open) -> None:
    page = go(ask(open_page(), "Write a function"), "decisions")
    page.session_state["decisions"] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    page.run()
    assert "coder answers for a good reason." in texts(page)
    assert "Excluded: cannot use tools" in texts(page)


def test_without_requests_the_page_says_so(open_page: Open) -> None:
    page = go(open_page(), "decisions")
    assert not page.dataframe
    assert len(page.info) == 1


def test_the_composition_shows_the_map_and_the_utilities(open_page: Open) -> None:
    page = go(open_page(), "composition")
    heat = next(str(item.value) for item in page.html if "heat" in str(item.value).split("</style>")[-1])
    assert 'class="cell mapped" style="--heat:0.444">0.71' in heat
    assert ":violet-badge[Coding] :violet-badge[Mathematics]" in texts(page)
    assert "all-MiniLM-L6-v2" in texts(page)
    assert "connection refused" in texts(page)


def test_pages_without_an_api_say_what_to_do(open_page: Open) -> None:
    page = open_page(api_url=NOBODY)
    for name in ("decisions", "composition"):
        assert "coterie up" in go(page, name).error[0].value
