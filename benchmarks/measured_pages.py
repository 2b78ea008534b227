"""Replaces the measured text between two markers of a documentation page."""

from pathlib import Path

from base.files import write_text


class PageError(Exception):
    """The page cannot be read, or has no place for the text; the message says what is missing."""


def filled(page: str, begin: str, end: str, text: str) -> str:
    """`page` with `text` on lines of its own between its one `begin` and the next `end`. Raises PageError."""
    head, _, rest = page.partition(begin)
    _, closed, tail = rest.partition(end)
    if page.count(begin) != 1 or not closed:
        raise PageError(f"the page has {page.count(begin)} parts {begin} … {end}, not one")
    return f"{head}{begin}\n{text}\n{end}{tail}"


def fill_page(path: Path, begin: str, end: str, text: str) -> None:
    """Put `text` between the markers of the page at `path`. Raises PageError."""
    try:
        page = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PageError(f"{path}: cannot be read: {error.strerror}") from error
    write_text(filled(page, begin, end, text), path)
