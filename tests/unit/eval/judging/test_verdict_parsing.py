"""Verdicts are read as judges write them, and what cannot be read is no tie."""

import pytest

from eval.judging.judge_prompts import Scale
from eval.judging.verdict_parsing import read_label, read_rating, schema


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ('{"explanation": "Good [[3]].", "rating": 8}', 8.0),
        ("It is clear. Rating: [[7]]", 7.0),
        ("First [[2]], but on reflection [[9.5]]", 9.5),
        ("Rating: 6/10", 6.0),
        ("**Rating:** 4", 4.0),
        ("[[11]]", None),
        ("[[0]]", None),
        ('{"rating": "eight"}', None),
        ("I cannot judge this.", None),
        ("", None),
    ],
)
def test_a_rating_is_read(text: str, rating: float | None) -> None:
    assert read_rating(text) == rating


@pytest.mark.parametrize(
    ("text", "five", "three"),
    [
        ('{"explanation": "A>B?", "verdict": "B>>A"}', "B>>A", "B>A"),
        ("My final verdict is tie: [[A=B]]", "A=B", "A=B"),
        ("[[A>B]], no: [[A>>B]]", "A>>B", "A>B"),
        ("[[ b > a ]]", None, None),
        ("[[B<A]]", "A>B", "A>B"),
        ("[[A]]", "A>B", "A>B"),
        ("[[C]]", "A=B", "A=B"),
        ("[A>>B]", "A>>B", "A>B"),
        ("[[A>>>B]]", None, None),
        ("Both are fine.", None, None),
    ],
)
def test_a_label_is_read_on_either_scale(text: str, five: str | None, three: str | None) -> None:
    assert read_label(text, Scale.FIVE) == five
    assert read_label(text, Scale.THREE) == three


def test_the_schema_asks_for_the_explanation_first() -> None:
    properties = schema(Scale.FIVE, explain=True)["json_schema"]["schema"]["properties"]

    assert list(properties) == ["explanation", "verdict"]
    assert properties["verdict"]["enum"] == ["A>>B", "A>B", "A=B", "B>A", "B>>A"]
    assert list(schema(Scale.RATING, explain=False)["json_schema"]["schema"]["properties"]) == ["rating"]
