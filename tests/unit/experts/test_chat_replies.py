"""Whole chat completions as servers send them, in the one form that clients get."""

from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from experts.chat_replies import check_completion, completion_chunks
from experts.errors import ExpertBadReply, ExpertBusy, ExpertError, ExpertUnavailable
from experts.expert import Expert
from tests.contracts.validation import problems

EXPERT = Expert(name="a", endpoint="http://h/v1", model="m", params_b=1, context_length=8)
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
BARE = {"choices": [{"message": {"content": "Hello"}}]}


def answer(message: Any, **choice: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}]}


@pytest.mark.parametrize(
    ("document", "finish"),
    [
        (BARE, "stop"),
        ({"choices": [{"text": "Hello"}]}, "stop"),
        (answer({"role": None, "content": "Hello"}, index=None), "stop"),
        (answer({"content": "Hello"}, finish_reason=""), "stop"),
        (answer({"content": "Hello"}, finish_reason="eos"), "stop"),
        (answer({"content": "Hello"}, finish_reason="max_tokens"), "length"),
        (answer({"content": None, "tool_calls": [CALL]}, finish_reason=None), "tool_calls"),
        ({**BARE, "id": "", "created": None, "model": None, "usage": {}}, "stop"),
        ({**BARE, "error": None, "usage": {"prompt_tokens": None, "completion_tokens": 3}}, "stop"),
        ({**BARE, "usage": {"prompt_tokens": 1, "completion_tokens": 3}}, "stop"),
        (
            {**answer({"content": "Hello", "reasoning": None}, token_ids=None), "prompt_logprobs": None},
            "stop",
        ),
    ],
)
def test_an_answer_has_every_field_that_openais_has(document: dict[str, Any], finish: str) -> None:
    completion = check_completion(EXPERT, document)
    assert problems(ChatCompletion, completion) == []
    assert completion["model"] == "a"
    assert completion["choices"][0]["finish_reason"] == finish
    chunks = completion_chunks(completion)
    assert [each for chunk in chunks for each in problems(ChatCompletionChunk, chunk)] == []
    assert chunks[2]["choices"][0]["finish_reason"] == finish


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (None, ExpertBadReply),
        ([], ExpertBadReply),
        ({}, ExpertBadReply),
        ({"choices": None}, ExpertBadReply),
        ({"choices": []}, ExpertBadReply),
        ({"choices": [None]}, ExpertBadReply),
        ({"choices": [{"message": None}]}, ExpertBadReply),
        (answer({"content": "Hel"}, finish_reason="error"), ExpertBadReply),
        (answer({"content": "Hel"}, finish_reason="abort"), ExpertBadReply),
        (answer({"content": ""}, error={"code": 429, "message": "slow"}), ExpertBusy),
        ({**BARE, "error": {"message": "overloaded"}}, ExpertUnavailable),
        ({"error": "overloaded"}, ExpertUnavailable),
    ],
)
def test_what_is_no_answer_is_refused(document: Any, error: type[ExpertError]) -> None:
    with pytest.raises(error) as caught:
        check_completion(EXPERT, document)
    assert type(caught.value) is error


def test_counts_are_kept_with_all_that_the_server_told_of_them() -> None:
    counts = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "cost": 0.1}
    details = {"prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0}}
    assert check_completion(EXPERT, {**BARE, "usage": counts | details})["usage"] == counts | details
    assert "usage" not in check_completion(EXPERT, {**BARE, "usage": {"prompt_tokens": 5}})
