"""Caps on answers are clipped, and read from what servers say when they refuse one."""

from typing import Any

import pytest

from experts.answer_caps import (
    answer_cap,
    capped,
    reported_answer_limit,
    reported_context_length,
    reported_prompt_tokens,
)
from experts.errors import ContextTooLong
from experts.expert import DialectName, Expert


def expert(**sampling: Any) -> Expert:
    return Expert(
        name="a", endpoint="http://h/v1", model="m", params_b=1, context_length=4096, sampling=sampling
    )


@pytest.mark.parametrize(
    ("sampling", "body", "cap"),
    [
        ({}, {}, None),
        ({"max_tokens": 512}, {}, 512),
        ({"max_tokens": 512}, {"max_tokens": None}, 512),
        ({"max_tokens": 512}, {"max_completion_tokens": 8192}, 8192),
        ({}, {"max_tokens": 10, "max_completion_tokens": 8}, 8),
        ({}, {"max_output_tokens": 10}, 10),
    ],
)
def test_the_clients_cap_goes_before_the_default(
    sampling: dict[str, Any], body: dict[str, Any], cap: int | None
) -> None:
    assert answer_cap(expert(**sampling), body) == cap


@pytest.mark.parametrize(
    ("sampling", "body", "most", "dialect", "sent"),
    [
        ({}, {"max_tokens": 8192}, 4000, "chat", {"max_tokens": 4000}),
        ({}, {"max_tokens": 8, "max_output_tokens": 9}, 4, "chat", {"max_tokens": 4, "max_output_tokens": 4}),
        ({}, {"max_tokens": 8192}, -5, "chat", {"max_tokens": 1}),
        ({"max_tokens": 512}, {}, 40, "chat", {"max_tokens": 40}),
        ({"max_tokens": 512}, {"max_completion_tokens": 9}, 40, "chat", {"max_completion_tokens": 9}),
        ({"max_tokens": 512}, {}, 40, "responses", {"max_output_tokens": 40}),
        ({}, {"max_output_tokens": 512}, 40, "responses", {"max_output_tokens": 40}),
        ({"max_completion_tokens": 512}, {}, 40, "messages", {"max_tokens": 40}),
        ({}, {}, 40, "chat", {}),
    ],
)  # fmt: skip
def test_what_is_above_the_room_is_clipped_to_it(
    sampling: dict[str, Any], body: dict[str, Any], most: int, dialect: DialectName, sent: dict[str, Any]
) -> None:
    assert capped(expert(**sampling), body, most, dialect) == sent


def test_a_body_that_asks_for_no_more_is_left_alone() -> None:
    body = {"max_tokens": 10}
    assert capped(expert(max_tokens=512), body, 10) is body


@pytest.mark.parametrize(
    ("message", "context", "prompt"),
    [
        (
            "This model's maximum context length is 4096 tokens. However, your prompt contains 13 input "
            "tokens and you asked for 8192 more.",
            4096,
            13,
        ),
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 8192. This model's maximum context length "
            "is 4096 tokens and your request has 13 input tokens (8192 > 4096 - 13).",
            4096,
            13,
        ),
        (
            "This model's maximum context length is 4,097 tokens. However, you requested 4,927 tokens (927 "
            "in the messages, 4,000 in the completion).",
            4097,
            927,
        ),
        (
            "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested "
            "a total of 8205 tokens: 13 tokens from the input messages and 8192 tokens for the completion.",
            4096,
            13,
        ),
        (
            "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input "
            "length or `max_tokens` and try again",
            200000,
            188240,
        ),
        (
            "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 13 `inputs` tokens and 8192 "
            "`max_new_tokens`",
            4096,
            13,
        ),
        ("the request exceeds the available context size (4096 tokens), try increasing it", 4096, None),
        (
            "This model's maximum context length is 2048 tokens. However, your prompt contains at least 1749 "
            "input tokens",
            2048,
            None,
        ),
        ("too long", None, None),
    ],
)
def test_a_refusal_for_length_is_read(message: str, context: int | None, prompt: int | None) -> None:
    error = ContextTooLong("a", "too long", error={"message": message})
    assert (reported_context_length(error), reported_prompt_tokens(error)) == (context, prompt)


@pytest.mark.parametrize(
    ("message", "most"),
    [
        ("max_tokens is too large: 8192. This model supports at most 4096 completion tokens.", 4096),
        ("max_tokens: 8192 > 4096, which is the maximum allowed number of output tokens for claude", 4096),
        ("`max_tokens` must be less than or equal to `4096`, the maximum value for `max_tokens`", 4096),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 4096]", 4096),
        ("The maximum tokens you requested exceeds the model limit of 4096.", 4096),
        ("Unsupported parameter: 'max_tokens' is not supported with this model.", None),
        ("temperature must be at most 2", None),
    ],
)  # fmt: skip
def test_the_longest_answer_is_read(message: str, most: int | None) -> None:
    assert reported_answer_limit(ContextTooLong("a", "no", error={"message": message})) == most
