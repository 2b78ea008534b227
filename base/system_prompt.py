"""A system prompt in front of chat messages."""

from collections.abc import Mapping, Sequence
from typing import Any

SYSTEM_ROLES = frozenset({"system", "developer"})


def with_system_prompt(prompt: str, messages: Sequence[Any]) -> list[Any]:
    """`messages` with `prompt` in front; a leading system message is appended to it, since many chat
    templates accept only one."""
    first = messages[0] if messages else None
    if not isinstance(first, Mapping) or first.get("role") not in SYSTEM_ROLES:
        return [{"role": "system", "content": prompt}, *messages]
    content = first.get("content")
    merged: Any
    if isinstance(content, list):
        merged = [{"type": "text", "text": prompt}, *content]
    else:
        merged = f"{prompt}\n\n{content}" if content else prompt
    return [{**first, "content": merged}, *messages[1:]]
