"""Who has escalations left, and when they come back."""

import time

import pytest
from limits import parse

from app.errors import ServiceError
from app.serving.escalation_quota import EscalationQuota
from app.telemetry.metrics import Metrics
from routers.decision import Reason
from tests.unit.routers.world import about, routed

LAW = routed(about("law"))
DEAR = frozenset({"large"})


def quota(rate: str, *, refuses: bool = False) -> EscalationQuota:
    return EscalationQuota(parse(rate), Metrics(), refuses=refuses)


def test_an_escalation_comes_back_when_its_window_is_over() -> None:
    limited = quota("1/second")
    assert limited.admit("desk", LAW, DEAR).expert == "large"
    assert not limited.left("desk")
    assert limited.admit("desk", LAW, DEAR).reason is Reason.LIMITED
    time.sleep(1.05)
    assert limited.left("desk")
    assert limited.admit("desk", LAW, DEAR).expert == "large"


def test_a_key_with_a_slash_or_none_shares_its_quota_with_nobody() -> None:
    limited = quota("1/hour")
    for key in ("a", "a/b", None, "all", "key"):
        assert limited.admit(key, LAW, DEAR).escalated is True
        assert not limited.left(key)


def test_many_requests_take_all_or_nothing() -> None:
    limited = quota("3/hour", refuses=True)
    with pytest.raises(ServiceError) as caught:
        limited.admit("desk", LAW, DEAR, 4)
    assert (caught.value.status, caught.value.code) == (429, "escalation_quota_exceeded")
    assert limited.admit("desk", LAW, DEAR, 3).escalated is True
    assert not limited.left("desk")


def test_a_fallback_that_was_counted_is_not_counted_again() -> None:
    limited = quota("2/hour")
    counted = limited.admit("desk", LAW, DEAR)
    assert limited.admit_fallback("desk", counted, DEAR) == counted
    assert limited.left("desk")
    spilled = limited.admit_fallback("desk", LAW, DEAR)
    assert spilled is not None
    assert spilled.escalated is True
    assert limited.admit_fallback("desk", LAW, DEAR) is None
