"""State of a provider in messages: what only the expert that made it can read, and how it is taken out.

Reasoning items with encrypted content, thinking blocks with signatures. In the chat form they are fields of
the assistant message that they belong to. Plain reasoning text is no state: anybody can read it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Keeps = Callable[[str], bool]

STATE_FIELDS = ("thinking_blocks", "reasoning_items", "reasoning_details")
"""Fields of assistant messages that hold such items: the Messages dialect's, the Responses dialect's,
OpenRouter's."""
_PLAIN_FIELDS = frozenset({"role", "content"})
_OPAQUE = ("signature", "encrypted_content", "data")
_ANSWERS = frozenset({"message", "function_call", "custom_tool_call"})
_STATE_PARTS = frozenset({"thinking", "redacted_thinking", "reasoning"})


def state_of(message: Mapping[str, Any]) -> tuple[str, ...]:
    """The opaque values of a message, in their order."""
    if not _may_have_state(message):
        return ()
    return tuple(value for item in _items(message) if (value := opaque_value(item)) is not None)


def _may_have_state(message: Mapping[str, Any]) -> bool:
    """Most messages are a text and nothing else."""
    if message.get("role", "assistant") != "assistant":
        return False
    return not (isinstance(message.get("content"), str) and message.keys() <= _PLAIN_FIELDS)


def opaque_value(item: Mapping[str, Any]) -> str | None:
    """What of a reasoning item or a thinking block only its maker can read; None when there is nothing."""
    for name in _OPAQUE:
        value = item.get(name)
        if isinstance(value, str) and value:
            return value
    return None


def without_foreign_state(document: Mapping[str, Any], keeps: Keeps) -> Mapping[str, Any]:
    """A request (chat, Messages or Responses) without the state that an expert cannot read; the same object
    when there is none. `keeps` says of an opaque value whether it may stay. Reasoning that stands beside a
    state goes with it."""
    items = document.get("input")
    if isinstance(items, list):
        return _without_foreign_items(document, items, keeps)
    messages = document.get("messages")
    if not isinstance(messages, list | tuple):
        return document
    stripped = [_stripped(message, keeps) for message in messages]
    if all(new is old for new, old in zip(stripped, messages, strict=True)):
        return document
    return {**document, "messages": stripped}


def _without_foreign_items(
    document: Mapping[str, Any], items: Sequence[Any], keeps: Keeps
) -> Mapping[str, Any]:
    """Responses: without reasoning items that cannot be read. Ids go with them, by which a server would miss
    the reasoning before an item."""
    kept = [item for item in items if not _is_state_part(item) or _stays(item, keeps)]
    if len(kept) == len(items):
        return document
    return {**document, "input": [_without_id(item) for item in kept]}


def _without_id(item: Any) -> Any:
    if not isinstance(item, Mapping) or item.get("type") not in _ANSWERS:
        return item
    return {name: value for name, value in item.items() if name != "id"}


def _stripped(message: Any, keeps: Keeps) -> Any:
    if not isinstance(message, Mapping) or not _may_have_state(message):
        return message
    if all(keeps(value) for value in state_of(message)):
        return message
    out = dict(message)
    for name in STATE_FIELDS:
        if isinstance(out.get(name), list):
            out[name] = [item for item in out[name] if _stays(item, keeps)]
            if not out[name]:
                del out[name]
    if isinstance(out.get("content"), list):
        parts = [part for part in out["content"] if not _is_state_part(part) or _stays(part, keeps)]
        out["content"] = parts or ""
    if isinstance(out.get("tool_calls"), list):
        out["tool_calls"] = [_call_without(call, keeps) for call in out["tool_calls"]]
    return out


def _call_without(call: Any, keeps: Keeps) -> Any:
    value = _thought_signature(call)
    if value is None or keeps(value):
        return call
    return {name: field for name, field in call.items() if name != "extra_content"}


def _stays(item: Any, keeps: Keeps) -> bool:
    value = opaque_value(item) if isinstance(item, Mapping) else None
    return value is None or keeps(value)


def _is_state_part(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in _STATE_PARTS


def _items(message: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for name in STATE_FIELDS:
        items = message.get(name)
        yield from (item for item in items if isinstance(item, Mapping)) if isinstance(items, list) else ()
    content = message.get("content")
    yield from (part for part in content if _is_state_part(part)) if isinstance(content, list) else ()
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if (value := _thought_signature(call)) is not None:
            yield {"signature": value}


def _thought_signature(call: Any) -> str | None:
    """Gemini's, on a tool call of its OpenAI-compatible API."""
    found = call
    for name in ("extra_content", "google", "thought_signature"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) and found else None
