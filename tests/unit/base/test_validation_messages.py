"""What pydantic finds wrong, as sentences."""

import pytest
from pydantic import BaseModel, ValidationError, model_validator

from base.validation_messages import problems_of


class Pair(BaseModel):
    low: int
    high: list[int]

    @model_validator(mode="after")
    def _ordered(self) -> "Pair":
        if self.low > self.high[0]:
            raise ValueError("low is above high")
        return self


def test_each_problem_is_told_with_its_field_and_without_the_input() -> None:
    with pytest.raises(ValidationError) as caught:
        Pair.model_validate({"low": "my-secret", "high": [1, "my-secret"]})
    first, second = problems_of(caught.value, "pair")
    assert first.startswith("low: ")
    assert second.startswith("high.1: ")
    assert "my-secret" not in first + second


def test_a_problem_of_the_whole_is_told_of_the_whole() -> None:
    with pytest.raises(ValidationError) as caught:
        Pair.model_validate({"low": 3, "high": [1]})
    assert problems_of(caught.value, "pair") == ["pair: Value error, low is above high"]
