"""Measured text between marks of a page."""

from pathlib import Path

import pytest

from benchmarks.measured_pages import PageError, fill_page

BEGIN, END = "<!-- begin -->", "<!-- end -->"


def test_text_is_replaced_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        fill_page(page, BEGIN, END, "new")
    assert page.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


@pytest.mark.parametrize("content", [None, "", f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_page_without_its_place_is_an_error_and_stays(tmp_path: Path, content: str | None) -> None:
    page = tmp_path / "page.md"
    if content is not None:
        page.write_text(content)
    with pytest.raises(PageError):
        fill_page(page, BEGIN, END, "new")
    assert content is None or page.read_text() == content
