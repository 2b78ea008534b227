"""With and without identities: what is kept, what hurts, and what the report says."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from base.reply import Reply
from base.usage import TokenUsage
from eval.checks import NumberCheck
from eval.personas import AnswerCost, Personas, compared, measurable, report
from eval.suite import CheckablePrompt, Suite, SuiteError
from prompts.identities import Identities, Identity, new_identities

PROMPTS = 20


def suite(*categories: str) -> Suite:
    check = NumberCheck(kind="number", value=4)
    items = [
        CheckablePrompt(id=f"{category}-{number}", category=category, prompt="2 + 2?", check=check)
        for category in categories
        for number in range(PROMPTS)
    ]
    return Suite(tuple(items), "digest")


def scores(category: str, right: Sequence[bool]) -> dict[str, float]:
    return {f"{category}-{number}": float(each) for number, each in enumerate(right)}


def found(*, without: int, behind: int, both: int = 0) -> Personas:
    """One category: so many right only without, only behind an identity, and on both sides."""
    plain = [True] * (both + without) + [False] * (PROMPTS - both - without)
    helped = (
        [True] * both + [False] * without + [True] * behind + [False] * (PROMPTS - both - without - behind)
    )
    return compared(
        suite("law"), scores("law", plain), scores("law", helped), {"law-0"}, per="category", confidence=0.95
    )


@pytest.fixture
def identities() -> Identities:
    return new_identities("small", [Identity(category="law", text="You are a judge.")])


@pytest.mark.parametrize(
    ("without", "behind", "kept", "hurts"),
    [
        (0, 8, True, False),
        (1, 10, True, False),
        (0, 0, False, False),
        (3, 6, False, False),
        (8, 0, False, True),
        # A bootstrap alone would keep this; four flips of a fair coin do not show anything.
        (0, 4, False, False),
    ],
)
def test_a_category_is_kept_where_identities_win_with_confidence(
    without: int, behind: int, kept: bool, hurts: bool
) -> None:
    (result,) = found(without=without, behind=behind, both=5).results
    assert (result.kept, result.hurts) == (kept, hurts)
    assert result.paired.difference == pytest.approx((behind - without) / PROMPTS)
    assert result.paired.low <= result.paired.difference <= result.paired.high


def test_only_prompts_with_a_score_on_both_sides_are_compared() -> None:
    plain = scores("law", [True] * 10) | scores("math", [False] * PROMPTS)
    behind = scores("law", [True] * PROMPTS)
    personas = compared(suite("law", "math"), plain, behind, set(), per="request", confidence=0.9)
    (law,) = personas.results
    assert (law.category, law.paired.n, personas.unscored) == ("law", 10, 30)


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(SuiteError, match="is the expert up"):
        compared(suite("law"), {}, {}, set(), per="category", confidence=0.95)


def test_only_categories_with_an_identity_are_measured(identities: Identities) -> None:
    both = suite("law", "math")
    assert measurable(both, identities, "category").categories == ("law",)
    assert measurable(both, identities, "request") == both
    with pytest.raises(SuiteError, match="coterie prompts identity"):
        measurable(suite("math"), identities, "category")


def test_the_file_learns_what_was_measured(identities: Identities) -> None:
    won = identities.with_measurement(found(without=0, behind=9).measurement(identities))
    assert won.kept("category") == {"law"}
    lost = won.with_measurement(found(without=9, behind=0).measurement(identities))
    assert lost.kept("category") == frozenset()
    assert len(lost.measured) == 1


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, {"law", "math"}),
        ({"suite": "other"}, {"law"}),
        ({"confidence": 0.9}, {"law"}),
        ({"of": "other texts"}, {"law"}),
    ],
)
def test_what_was_found_of_other_categories_stays_while_it_is_of_the_same(
    identities: Identities, changes: dict[str, Any], kept: set[str]
) -> None:
    law = found(without=0, behind=9).measurement(identities)
    math = law.results[0].model_copy(update={"category": "math"})
    older = law.model_copy(update={"results": (math,), **changes})
    assert identities.with_measurement(older).with_measurement(law).kept("category") == kept


def test_the_report_says_what_was_left_out_and_what_it_cost(identities: Identities) -> None:
    answers = [Reply("4", "stop", TokenUsage(600, number), 1.5) for number in (3, 5)]
    personas = replace(
        found(without=0, behind=9),
        unscored=4,
        unscored_why={"timeout": 3, "bad_reply": 1},
        without_identity=("math", "stem"),
        costs=(AnswerCost.of("with identities", answers), AnswerCost.of("writing identities", [])),
    )
    text = report(personas, identities)
    assert "(bad_reply 1, timeout 3)" in text
    assert "math, stem" in text
    assert "| with identities | 2 | 1,200 | 8 | 1.50 |" in text
    assert "writing identities" not in text


def test_the_report_says_what_is_kept_and_where_identities_hurt(identities: Identities) -> None:
    text = report(found(without=9, behind=0), identities)
    assert "Kept in: no" in text
    assert "Hurts in: law." in text
    assert "worse on 9" in text
    assert "| law | 20 | 1 | 0.450 | 0.000 | -0.450 (" in text
    assert text.count("0 / 9") == 1
    text = report(found(without=0, behind=9, both=1), identities)
    assert "Kept in: law." in text
    assert "Hurts in: no" in text
    assert "they hurt" not in text
    assert "no evidence" in text
