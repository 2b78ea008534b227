"""The verdict on a canary: paired where both are rated, by groups without prompts, none without evidence."""

import random
from collections.abc import Sequence

import pytest

from client import FeedbackRecord, RankedExpert, ShadowRecord
from eval.canary import judge_canary
from eval.traffic import Logged

OLD, NEW = "old", "new"
RANKING = tuple(
    RankedExpert.model_validate(
        {
            "expert": name,
            "utility": 0.5,
            "correction": 0.0,
            "value": 0.5,
            "active_params_b": size,
            "price": 0.0,
        }
    )
    for name, size in (("small", 1.0), ("large", 8.0))
)


def request(
    number: int, text: str, composition: str, expert: str, score: float | None, shadow: float | None = None
) -> Logged:
    """One logged request; `shadow`: the score of the other expert's shadow answer."""
    other = "large" if expert == "small" else "small"
    rated = () if score is None else (FeedbackRecord(score=score),)
    shadows: tuple[ShadowRecord, ...] = ()
    if shadow is not None:
        shadows = (ShadowRecord(expert=other, status="ok", feedback=(FeedbackRecord(score=shadow),)),)
    return Logged(
        id=f"dec_{number}",
        composition=composition,
        classification="classified",
        expert=expert,
        strategy="single",
        reason="matched",
        status="ok",
        ranking=RANKING,
        messages=({"role": "user", "content": text},),
        feedback=rated,
        shadows=shadows,
    )


def old_choice(logged: Logged) -> str:
    return "small"


def new_choice(logged: Logged) -> str:
    """The new composition sends hard requests to the large expert."""
    return "large" if "hard" in (logged.text or "") else "small"


def traffic(count: int, *, gain: float, seed: int = 0) -> list[Logged]:
    """Half of the requests are hard; on these the large expert's mean score is higher by `gain`."""
    draw = random.Random(seed)
    log = []
    for number in range(count):
        text, new = ("hard" if number % 2 else "easy"), number % 4 < 2
        chosen = "large" if new and text == "hard" else "small"
        small, large = float(draw.random() < 0.4), float(draw.random() < 0.4 + gain)
        scores = {"small": small, "large": large}
        other = "large" if chosen == "small" else "small"
        shadow = scores[other] if text == "hard" else None
        log.append(request(number, text, NEW if new else OLD, chosen, scores[chosen], shadow))
    return log


def verdict(log: Sequence[Logged], **options: float) -> str:
    return judge_canary(log, OLD, NEW, (old_choice, new_choice), **options).verdict  # type: ignore[arg-type]


def test_the_difference_over_all_requests_counts_equal_choices_as_nought() -> None:
    report = judge_canary(traffic(2000, gain=0.3), OLD, NEW, (old_choice, new_choice))
    assert (report.by, report.same, report.different, report.compared) == ("paired", 1000, 1000, 1000)
    assert report.difference is not None
    assert report.difference.low < 0.15 < report.difference.high
    assert report.verdict == "promote"


@pytest.mark.parametrize(
    ("gain", "margin", "expected"), [(0.3, 0.0, "promote"), (-0.3, 0.0, "stop"), (0.0, 0.05, "promote")]
)
def test_the_verdict_follows_the_interval(gain: float, margin: float, expected: str) -> None:
    assert verdict(traffic(4000, gain=gain), margin=margin) == expected


def test_an_interval_around_nought_waits() -> None:
    assert verdict(traffic(200, gain=0.0)) == "wait"


def test_too_few_compared_requests_wait_however_clear_they_are() -> None:
    log = traffic(40, gain=0.6)
    report = judge_canary(log, OLD, NEW, (old_choice, new_choice), least=30)
    assert report.compared == 20
    assert (report.verdict, "20 requests" in report.why) == ("wait", True)


def test_half_rated_requests_are_not_compared() -> None:
    log = [each.model_copy(update={"shadows": ()}) for each in traffic(400, gain=0.3)]
    report = judge_canary(log, OLD, NEW, (old_choice, new_choice))
    assert (report.compared, report.verdict) == (0, "wait")


@pytest.mark.parametrize("reason", ["pinned", "rule", "held", "sticky", "spilled"])
def test_requests_that_no_composition_settled_do_not_count(reason: str) -> None:
    log = [each.model_copy(update={"reason": reason}) for each in traffic(400, gain=0.3)]
    report = judge_canary(log, OLD, NEW, (old_choice, new_choice))
    assert (report.same, report.different) == (0, 0)


def test_without_prompts_the_two_groups_are_compared() -> None:
    log = traffic(4000, gain=0.4)
    report = judge_canary(log, OLD, NEW, None)
    assert report.by == "groups"
    assert report.difference is not None
    assert report.difference.low < 0.2 < report.difference.high
    assert report.verdict == "promote"


def test_a_group_without_ratings_waits_and_says_what_is_missing() -> None:
    log = [each.model_copy(update={"feedback": ()}) for each in traffic(100, gain=0.4)]
    report = judge_canary(log, OLD, NEW, None)
    assert (report.difference, report.verdict) == (None, "wait")
    assert "30 rated answers of each" in report.why


def test_each_side_is_described_by_its_own_requests() -> None:
    report = judge_canary(traffic(400, gain=0.3), OLD, NEW, (old_choice, new_choice))
    assert (report.served.requests, report.canary.requests) == (200, 200)
    assert report.served.active_params_b == 1.0
    assert report.canary.active_params_b == pytest.approx(4.5)
