"""From a chat body to the router's request."""

from collections.abc import Mapping
from typing import Any

import pytest

from app.errors import ServiceError
from app.serving.chat_body import ChatBody, ChatRequest
from app.serving.request_parsing import Names, routing_request
from experts.token_counter import MIN_ANSWER_TOKENS
from routers.request import Capability, Request, Turn

NAMES = Names(
    experts=("coder", "talker", "stranger"), composed=("coder", "talker"), categories=("coding", "talk")
)
USER = {"role": "user", "content": "hi"}


def read(headers: Mapping[str, str] | None = None, api_key: str | None = None, **fields: Any) -> Request:
    document = {"model": "coterie", "messages": [USER], **fields}
    chat = ChatRequest(ChatBody.model_validate(document), document, api_key=api_key, headers=headers or {})
    return routing_request(chat, NAMES, decision_id="dec_1")


def test_turns_hold_the_text_of_strings_and_parts() -> None:
    parts = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "https://x"}},
        {"type": "text", "text": "here"},
    ]
    request = read(
        messages=[
            {"role": "developer", "content": "be kind"},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": None, "tool_calls": []},
        ]
    )
    assert request.turns == (Turn("developer", "be kind"), Turn("user", "look\nhere"), Turn("assistant", ""))
    assert request.needs == {Capability.VISION}


def test_media_need_an_expert_that_takes_them() -> None:
    for kind, need in (
        ("image_url", Capability.VISION),
        ("input_audio", Capability.AUDIO),
        ("audio_url", Capability.AUDIO),
        ("video_url", Capability.VIDEO),
        ("file", Capability.FILES),
    ):
        assert read(messages=[{"role": "user", "content": [{"type": kind}]}]).needs == {need}


TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({}, set()),
        ({"tools": []}, set()),
        ({"tools": [TOOL]}, {Capability.TOOLS}),
        ({"tools": [TOOL], "tool_choice": "none"}, set()),
        ({"functions": [{"name": "f"}]}, {Capability.TOOLS}),
        ({"functions": [{"name": "f"}], "function_call": "none"}, set()),
        ({"response_format": {"type": "text"}}, set()),
        ({"response_format": {"type": "json_schema"}}, {Capability.JSON_SCHEMA}),
        ({"response_format": {"type": "json_object"}}, {Capability.JSON_SCHEMA}),
    ],
)
def test_needs_follow_from_what_the_client_asks_for(fields: dict[str, Any], needs: set[Capability]) -> None:
    assert read(**fields).needs == needs


@pytest.mark.parametrize(
    ("fields", "pins"),
    [
        ({}, (None, None)),
        ({"model": "coder"}, ("coder", None)),
        ({"model": "coterie/coding"}, (None, "coding")),
        ({"routing": {"expert": "stranger"}}, ("stranger", None)),
        ({"model": "coder", "routing": {"category": "talk"}}, (None, "talk")),
        ({"routing": None}, (None, None)),
    ],
)
def test_model_and_routing_pin(fields: dict[str, Any], pins: tuple[str | None, str | None]) -> None:
    request = read(**fields)
    assert (request.pinned_expert, request.pinned_category) == pins


def test_a_cap_on_the_answer_is_no_need() -> None:
    assert read(max_tokens=5).output_tokens == 5
    assert read(max_tokens=5, max_completion_tokens=7).output_tokens == 7
    assert read().output_tokens == read(max_tokens=10**9).output_tokens == MIN_ANSWER_TOKENS


def test_rules_see_headers_and_the_keys_label_but_no_secret() -> None:
    headers = {"authorization": "Bearer s", "cookie": "s", "x-tenant": "t", "api_key": "fake"}
    assert read(headers, "team").attributes == {"x-tenant": "t", "api_key": "team"}


def test_a_header_cannot_pass_for_a_key() -> None:
    assert read({"api_key": "fake"}).attributes == {}


@pytest.mark.parametrize(
    ("fields", "status", "hint"),
    [
        ({"model": "codr"}, 404, "Did you mean coder"),
        ({"model": "coterie/codin"}, 404, "coterie/coding"),
        ({"model": "gpt-4"}, 404, "There are: coterie"),
        ({"routing": {"expert": "tolker"}}, 400, "Did you mean talker"),
        ({"routing": {"exclude": ["xyz"]}}, 400, "There are: coder, talker"),
    ],
)
def test_a_name_that_is_not_there_gets_suggestions(fields: dict[str, Any], status: int, hint: str) -> None:
    with pytest.raises(ServiceError) as raised:
        read(**fields)
    assert raised.value.status == status
    assert hint in raised.value.message
