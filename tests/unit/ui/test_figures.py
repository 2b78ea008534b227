"""The small pictures: what they say, and that nothing from outside becomes markup."""

import re
from typing import Any

import pytest

from client import CategoryShare, RankedExpert
from ui import figures


def body(markup: str) -> str:
    return markup.split("</style>")[1]


def ranked(expert: str, value: float, **facts: Any) -> RankedExpert:
    return RankedExpert(expert=expert, utility=1.0, value=value, **facts)


def widths(markup: str) -> list[float]:
    return [float(width) for width in re.findall(r"width:([\d.]+)%\"></div>", body(markup))]


def test_bars_are_as_long_as_their_values() -> None:
    choices = [ranked("a", 0.8), ranked("b", 0.2)]
    assert widths(figures.ranking(choices, "a")) == [100.0, 25.0]


def test_values_below_zero_still_have_an_order() -> None:
    choices = [ranked("a", 0.1), ranked("b", -0.3)]
    assert widths(figures.ranking(choices, "a")) == [100.0, 0.0]


def test_a_boost_shows_as_a_gain_and_a_cost_as_a_loss() -> None:
    boosted = RankedExpert(expert="a", utility=0.5, value=0.6)
    costly = RankedExpert(expert="b", utility=0.5, value=0.4)
    assert re.findall(r"<td>([+−][\d.]+)</td>", body(figures.ranking([boosted, costly], "a"))) == [
        "+0.100",
        "−0.100",
    ]


def test_an_excluded_expert_shows_its_reason_and_no_bar() -> None:
    markup = figures.ranking([ranked("a", 0.0, excluded="too long")], "b")
    assert "Excluded: too long" in markup
    assert widths(markup) == []


def test_names_from_outside_are_no_markup() -> None:
    evil = "<img src=x onerror=alert(1)>"
    markup = "".join(
        (
            body(figures.ranking([ranked(evil, 0.0, excluded=evil)], evil)),
            body(figures.probabilities([CategoryShare(category=evil, probability=1)], {})),
            body(figures.heat({evil: {evil: 0.5}}, {evil: evil}, {}, [evil])),
            body(figures.facts([(evil, evil)])),
        )
    )
    assert "<img" not in markup


def test_a_missing_utility_is_a_gap_in_the_heat_table() -> None:
    assert "–" in body(figures.heat({"coding": {}}, {}, {}, ["a"]))


@pytest.mark.parametrize(
    ("probability", "text"), [(0.0, "0%"), (0.001, "<1%"), (0.934, "93%"), (0.999, ">99%"), (1.0, "100%")]
)
def test_nearly_sure_is_not_certain(probability: float, text: str) -> None:
    assert figures.percent(probability) == text
