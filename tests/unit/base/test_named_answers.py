"""Which of several named things a reply settles on, as models talk."""

import pytest

from base.closed_answers import read_named

CITIES = (("Porto",), ("Krakow",), ("Vienna",))


@pytest.mark.parametrize(
    "reply",
    [
        "Porto",
        "The answer is Porto.",
        "The partners come from Krakow and Vienna, but the meeting is in Porto. If you have questions, ask!",
        "Krakow and Vienna are where they live. Answer: Porto",
        "**Porto** is where it takes place; Krakow is not.",
        "It is not Krakow. It is not in Vienna. It is porto",
        "At first I thought Vienna. Wait, it is Porto.",
        r"So \boxed{\text{Porto}}",
        "The answer is Porto, not Vienna.",
        "Final answer:\n\nPorto",
    ],
)
def test_the_first_is_settled_on(reply: str) -> None:
    assert read_named(reply, CITIES) == 0


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("The answer is Vienna, since Porto is only named in passing.", 2),
        ("Porto is mentioned. Therefore the meeting is in Krakow.", 1),
        ("I cannot tell.", None),
        ("", None),
        ("It is not Porto.", None),
        ("Portobello", None),
        (r"So it is \boxed{\text{Porto and Vienna}}", None),
        ("The answer is Porto or Krakow.", None),
    ],
)
def test_another_or_none(reply: str, expected: int | None) -> None:
    assert read_named(reply, CITIES) == expected


def test_of_names_at_one_place_the_longest_counts() -> None:
    assert read_named("It is carbon dioxide.", (("carbon",), ("carbon dioxide",))) == 1
