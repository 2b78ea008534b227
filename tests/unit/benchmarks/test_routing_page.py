"""The page on routing is filled part by part, and has every part that can be measured."""

import re
from pathlib import Path

import pytest

from benchmarks.measured_pages import PageError
from benchmarks.routing_page import PAGE, PARTS, Sources, main, with_part

PAGE_OF_TWO = """# Title

<!-- measured: first -->

old

<!-- end -->

What a person wrote.

<!-- measured: second -->
<!-- end -->
"""


def test_a_part_is_replaced_and_nothing_else() -> None:
    page = with_part(PAGE_OF_TWO, "first", ["| new |"])
    assert page == PAGE_OF_TWO.replace("old", "| new |")


def test_filling_twice_is_filling_once() -> None:
    once = with_part(PAGE_OF_TWO, "second", [r"a \1 b", "c"])
    assert with_part(once, "second", [r"a \1 b", "c"]) == once
    assert r"a \1 b" in once


def test_a_part_that_is_missing_or_there_twice_is_an_error() -> None:
    for page in ("# Title", PAGE_OF_TWO + PAGE_OF_TWO):
        with pytest.raises(PageError, match="first"):
            with_part(page, "first", ["x"])


def test_the_page_has_every_part_once_and_no_other() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"<!-- measured: (.*?) -->", page) == list(PARTS)
    for name in PARTS:
        assert with_part(page, name, ["x"]) != page


def test_what_is_shipped_is_what_the_page_says(tmp_path: Path) -> None:
    """These two parts are read from files of the project, so the page can be held to them."""
    page = PAGE.read_text(encoding="utf-8")
    nowhere = Sources(tmp_path, tmp_path, tmp_path, tmp_path, tmp_path, tmp_path, runs=1, folds=5)
    for name in ("shipped", "held-out"):
        assert with_part(page, name, PARTS[name](nowhere)) == page


def run(page: Path, part: str) -> int:
    nowhere = str(page.parent / "nowhere")
    given = [
        "--mt-bench",
        nowhere,
        "--flask",
        nowhere,
        "--lengths",
        nowhere,
        "--out",
        str(page.parent / "work"),
    ]
    return main([nowhere, *given, "--page", str(page), "--only", part])


@pytest.mark.parametrize(
    ("part", "said"), [("coe5", "prompts.parquet is missing"), ("categories", "nowhere")]
)
def test_what_is_not_there_to_be_measured_is_an_error_that_leaves_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, said: str
) -> None:
    page = tmp_path / "routing.md"
    text = PAGE.read_text(encoding="utf-8")
    page.write_text(text, encoding="utf-8")
    assert run(page, part) == 1
    assert said in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == text


def test_a_page_without_the_part_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "routing.md"
    page.write_text("# Title", encoding="utf-8")
    assert run(page, "coe5") == 1
    assert "0 parts <!-- measured: coe5 -->" in capsys.readouterr().err
