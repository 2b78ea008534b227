"""How long to wait before trying again."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.retries import RetryPolicy, read_retry_after


@given(st.integers(0, 5000), st.none() | st.floats(0, 1e6))
def test_a_wait_before_trying_again_is_bounded(attempt: int, asked_for: float | None) -> None:
    policy = RetryPolicy()
    assert 0 < policy.delay(attempt, asked_for) <= 2 * policy.longest_wait_s


def test_the_server_may_ask_for_a_longer_wait() -> None:
    assert RetryPolicy(first_wait_s=0.1).delay(0, 7.0) == 7.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("1.5", 1.5),
        ("-3", 0.0),
        ("nan", None),
        ("soon", None),
        ("Thu, 01 Dec 99999999999999999999 16:00:00 GMT", None),
        (None, None),
    ],
)
def test_a_wait_that_a_server_asks_for_is_in_seconds(header: str | None, seconds: float | None) -> None:
    assert read_retry_after(header) == seconds


def test_a_wait_that_a_server_asks_for_may_be_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert read_retry_after(date) == pytest.approx(90, abs=2)
    assert read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
