"""Fields of a chat's messages and deltas, as other dialects read them. Servers have more than one name for
some."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def reasoning_of(message: Mapping[str, Any]) -> str:
    """The reasoning in a message or delta, by both of its names."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(text := message.get(name), str) and text:
            return text
    return ""


def signed_blocks(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """LiteLLM's `thinking_blocks` of a message or delta: those that Anthropic's models signed."""
    blocks = message.get("thinking_blocks")
    return [block for block in blocks if isinstance(block, dict)] if isinstance(blocks, list) else []


def calls_of(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The tool calls of a message or delta."""
    calls = message.get("tool_calls")
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def text_of(content: Any) -> str:
    """The text of a message's or delta's content."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return ""


def read_object(text: str) -> dict[str, Any] | None:
    """The JSON object that `text` is; None when it is none."""
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None
