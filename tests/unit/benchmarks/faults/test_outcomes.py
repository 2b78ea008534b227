"""What counts as lost, as late and as missing in the table of faults."""

import pytest

from benchmarks.faults.callers import REFUSED, Seen
from benchmarks.faults.outcomes import Outcome, lost, next_s, told

WHOLE = Seen(sent=1.0, first=1.5, status=200, whole=True)
IN_STREAM = Seen(sent=1.0, first=1.5, status=200, error="expert_timeout", in_stream=True)
REFUSED_ONE = Seen(sent=1.0, error=REFUSED)
SILENT = Seen(sent=1.0, first=1.5, status=200)


def test_only_what_ended_without_an_error_is_lost() -> None:
    assert lost([WHOLE, IN_STREAM, REFUSED_ONE]) == 0
    assert lost([WHOLE, SILENT, SILENT]) == 2


def test_what_clients_saw_is_counted_by_kind() -> None:
    busy = Seen(status=429, error="expert_busy")
    seen = [WHOLE, WHOLE, IN_STREAM, busy, SILENT, REFUSED_ONE, REFUSED_ONE]
    assert told(seen) == (
        "2 whole, 1 `expert_timeout` in the stream, 1 429 `expert_busy`, 1 LOST, connection refused meanwhile"
    )


def test_the_next_requests_are_those_sent_after_the_fault_and_answered() -> None:
    sent = [(0.9, 9.0), (1.0, 1.2), (1.1, 1.9), (1.3, 7.0)]
    seen = [Seen(sent=at, first=first, whole=True) for at, first in sent]
    assert next_s([*seen, REFUSED_ONE], fault=1.0, callers=2) == pytest.approx(0.9)
    assert next_s([REFUSED_ONE], fault=1.0, callers=2) is None


@pytest.mark.parametrize(
    ("facts", "holds"),
    [
        ({}, True),
        ({"next_s": 1.1}, False),
        ({"next_s": None}, False),
        ({"next_s": 9.0, "elsewhere": False}, True),
        ({"lost": 1}, False),
        ({"missing": 1}, False),
        ({"missing": 3, "may_miss": 3}, True),
    ],
    ids=str,
)
def test_each_promise_can_be_broken(facts: dict[str, float], holds: bool) -> None:
    known = {"next_s": 0.5, "lost": 0, "missing": 0, "may_miss": 0, "elsewhere": True, **facts}
    assert Outcome("a fault", "8 whole", **known).holds is holds  # type: ignore[arg-type]
