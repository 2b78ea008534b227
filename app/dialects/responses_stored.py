"""Items of stored responses: with ids, in the form in which they are listed, and found again by their ids."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from app.dialects.responses import PREFIX
from app.dialects.responses_items import REFERENCE, kind_of

Item = dict[str, Any]

ITEM_ID = re.compile(r"[a-z]+_([0-9a-f]{32})i?[0-9a-f]{3,}")
"""Ids of items hold their response's."""
ID_PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
}


def response_of_item(item_id: str) -> str | None:
    """The id of the response whose item it is."""
    found = ITEM_ID.fullmatch(item_id)
    return None if found is None else PREFIX + found[1]


def is_reasoning(item_id: str) -> bool:
    """Whether the id is that of a reasoning item that this service made."""
    return item_id.startswith(f"{ID_PREFIXES['reasoning']}_")


def references(items: Any) -> dict[int, str]:
    """Items that only name another one: its id by their index."""
    if not isinstance(items, list):
        return {}
    return {
        index: item["id"]
        for index, item in enumerate(items)
        if isinstance(item, Mapping) and kind_of(item) == REFERENCE and isinstance(item.get("id"), str)
    }


def resent_items(items: Sequence[Item]) -> list[Item]:
    """The items of earlier turns that are sent again: all but reasoning items with only an id, which nobody
    but the server that stored them could read."""
    return [
        item
        for item in items
        if item.get("type") != "reasoning" or item.get("content") or item.get("encrypted_content")
    ]


def listed_items(items: str | Sequence[Mapping[str, Any]], response_id: str) -> list[Item]:
    """The items of a request as `input_items` lists them, each with an id."""
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    key = response_id.removeprefix(PREFIX)
    return [_listed(item, f"{key}i{index:03x}") for index, item in enumerate(items)]


def _listed(item: Mapping[str, Any], key: str) -> Item:
    kind = kind_of(item)
    own = f"{ID_PREFIXES.get(kind, 'item')}_{key}"
    listed = {**item, "type": kind, "id": item.get("id") or own}
    if kind == "message":
        assistant = item.get("role") == "assistant"
        listed |= {"content": _parts(item.get("content"), assistant), "status": "completed"}
    elif kind != "reasoning":
        listed.setdefault("status", "completed")
    return listed


def _parts(content: Any, assistant: bool) -> Any:
    if not isinstance(content, str):
        return content
    if assistant:
        return [{"type": "output_text", "text": content, "annotations": []}]
    return [{"type": "input_text", "text": content}]
