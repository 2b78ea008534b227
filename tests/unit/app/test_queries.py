"""Cursors of the list of decisions."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.storage.queries import BadCursor, Cursor


@given(st.datetimes(timezones=st.just(UTC)), st.text(st.characters(codec="utf-8"), max_size=40))
def test_a_cursor_survives_its_text(when: datetime, row_id: str) -> None:
    assert Cursor.decode(Cursor(when, row_id).encode()) == Cursor(when, row_id)


@given(st.text(max_size=60))
def test_any_other_text_is_refused(text: str) -> None:
    try:
        cursor = Cursor.decode(text)
    except BadCursor:
        return
    assert cursor.created_at.tzinfo is not None


@pytest.mark.parametrize("text", ["", "AAAA", "MjAyNi0wMS0wMQ", "é"])
def test_what_no_page_gave_out_is_refused(text: str) -> None:
    with pytest.raises(BadCursor):
        Cursor.decode(text)
