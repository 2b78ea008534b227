"""A judge's refusal of its JSON schema is told from a refusal of anything else."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from base.reply import AskError, Reply
from eval.engine.contestants import Contestant
from eval.judging.judge import Judge
from eval.judging.judge_prompts import Kind, Scale, own_prompts

SINGLE = Kind(Scale.RATING)
VALUES = {"question": "Two and two?", "answer": "4"}


class Asker:
    """Refuses requests with any of `fields`."""

    def __init__(self, *fields: str) -> None:
        self.fields = fields
        self.asked: list[Mapping[str, Any]] = []

    async def ask(self, model: Contestant, messages: Sequence[Any], sampling: Mapping[str, Any]) -> Reply:
        self.asked.append(sampling)
        if any(field in sampling for field in self.fields):
            raise AskError("invalid_value", "status 400")
        return Reply("Rating: [[9]]")


async def test_a_judge_without_schemas_is_asked_for_text_from_then_on() -> None:
    judge, asker = Judge(Contestant("j", "http://h/v1", "j"), own_prompts()), Asker("response_format")
    for _ in range(2):
        assert (await judge.judge(asker, SINGLE, VALUES)).rating == 9  # type: ignore[arg-type]
    assert ["response_format" in each for each in asker.asked] == [True, False, False]


async def test_a_judge_that_refuses_text_too_may_still_take_schemas() -> None:
    judge, asker = Judge(Contestant("j", "http://h/v1", "j"), own_prompts()), Asker("max_tokens")
    for _ in range(2):
        with pytest.raises(AskError):
            await judge.judge(asker, SINGLE, VALUES)  # type: ignore[arg-type]
    assert ["response_format" in each for each in asker.asked] == [True, False, True, False]
