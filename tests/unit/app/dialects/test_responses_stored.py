"""Items of stored responses have ids by which they are found, and the form that the SDK lists."""

from typing import Any

import pytest
from openai.types.responses import ResponseItem

from app.dialects.responses_stored import (
    is_reasoning,
    listed_items,
    references,
    resent_items,
    response_of_item,
)
from tests.contracts.validation import problems

KEY = "0123456789abcdef" * 2
CALL = {"type": "function_call", "call_id": "a", "name": "look", "arguments": "{}"}
REASONING = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
ITEMS: list[dict[str, Any]] = [
    {"role": "user", "content": "hi"},
    {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "hi"}]},
    {"role": "assistant", "content": "hi"},
    CALL,
    {"type": "function_call_output", "call_id": "a", "output": "fine"},
    {"type": "custom_tool_call", "call_id": "b", "name": "patch", "input": "x"},
    {"type": "custom_tool_call_output", "call_id": "b", "output": "fine"},
    REASONING,
]


def test_items_are_listed_as_the_sdk_knows_them_and_found_by_their_ids() -> None:
    listed = listed_items(ITEMS, f"resp_{KEY}")
    assert [problems(ResponseItem, item) for item in listed] == [[]] * len(ITEMS)
    assert len({item["id"] for item in listed}) == len(ITEMS)
    assert {response_of_item(item["id"]) for item in listed} == {f"resp_{KEY}"}
    assert [is_reasoning(item["id"]) for item in listed] == [False] * 7 + [True]


def test_a_text_is_a_users_message_and_given_ids_stay() -> None:
    (message,) = listed_items("hi", f"resp_{KEY}")
    assert (message["role"], message["content"]) == ("user", [{"type": "input_text", "text": "hi"}])
    (call,) = listed_items([{**CALL, "id": "fc_mine"}], f"resp_{KEY}")
    assert call["id"] == "fc_mine"


@pytest.mark.parametrize("item_id", ["msg_1", "resp_", f"msg_{KEY}", f"{KEY}000", "rs_théirs"])
def test_ids_of_others_lead_nowhere(item_id: str) -> None:
    assert response_of_item(item_id) is None


def test_references_may_leave_their_type_out() -> None:
    named = [{"type": "item_reference", "id": "msg_1"}, {"id": "msg_2"}, {**CALL, "id": "fc_3"}]
    assert references(named) == {0: "msg_1", 1: "msg_2"}
    assert references("hi") == {}


def test_reasoning_that_says_nothing_is_not_sent_again() -> None:
    bare = {"type": "reasoning", "id": "rs_1", "summary": []}
    sealed = {**bare, "encrypted_content": "x"}
    assert resent_items([bare, sealed, REASONING, CALL]) == [sealed, REASONING, CALL]
