"""Messages as a server's chat template wants them. Order and meaning are kept, no message is left out.

Knows chat messages, not which server wants what (`experts.adaptations`).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from base.system_prompt import SYSTEM_ROLES

MessageRule = Literal["system_first", "no_system", "alternating_roles", "text_content", "content_required"]
"""What a chat template asks of messages:

- `system_first`: a system message at the beginning only; later ones become text of the user;
- `no_system`: none at all; the first ones become the beginning of the user's text too;
- `alternating_roles`: user and assistant by turns, the user first;
- `text_content`: content as a string where all its parts are text;
- `content_required`: an empty string for messages without content (beside tool calls).
"""

Message = Mapping[str, Any]
OPENING_TEXT = "(The conversation begins.)"
"""The user's first message, where a conversation begins with the assistant and may not."""


def follow(rules: Collection[MessageRule], messages: Sequence[Any]) -> list[Any]:
    """`messages` under `rules`; those that keep them already are passed on as they are."""
    found = [_with_system_role(message) for message in messages]
    if not all(isinstance(message, Mapping) for message in found):
        return found  # The server's own check names it.
    if "no_system" in rules or "system_first" in rules:
        found = _system_in_front(found)
    if "no_system" in rules and found and found[0].get("role") == "system":
        found = _before_the_user(found[0], found[1:])
    if "alternating_roles" in rules:
        found = _alternating(found)
    if "text_content" in rules:
        found = [_as_text(message) for message in found]
    if "content_required" in rules:
        found = [
            {**message, "content": ""} if message.get("content") is None else message for message in found
        ]
    return found


def _with_system_role(message: Any) -> Any:
    """`developer` is OpenAI's newer name of `system`. OpenAI's models take both, most templates only the old
    one, and some pass over what they do not know."""
    if isinstance(message, Mapping) and message.get("role") == "developer":
        return {**message, "role": "system"}
    return message


def _system_in_front(messages: Sequence[Message]) -> list[Message]:
    """The system messages at the beginning as one; later ones as text of the user, after the results of tool
    calls that they stand between."""
    front = 0
    while front < len(messages) and messages[front].get("role") in SYSTEM_ROLES:
        front += 1
    found: list[Message] = []
    for message in messages[:front]:
        found = [_joined(found[0], message)] if found else [message]
    waiting: list[Message] = []
    for message in messages[front:]:
        if message.get("role") in SYSTEM_ROLES:
            waiting.append({"role": "user", "content": message.get("content")})
            continue
        if message.get("role") not in {"tool", "function"}:
            found += waiting
            waiting = []
        found.append(message)
    return [*found, *waiting]


def _before_the_user(system: Message, messages: Sequence[Message]) -> list[Message]:
    """`system` at the beginning of the user's first message; one of its own where the assistant begins."""
    said: Message = {"role": "user", "content": system.get("content")}
    if messages and messages[0].get("role") == "user":
        return [_joined(said, messages[0]), *messages[1:]]
    return [said, *messages]


def _alternating(messages: Sequence[Message]) -> list[Message]:
    """Neighbours of one role become one message. Tools' results stay: templates pass over them."""
    found: list[Message] = []
    for message in messages:
        role = message.get("role")
        if role == "assistant" and not any(each.get("role") == "user" for each in found):
            found.append({"role": "user", "content": OPENING_TEXT})
        if found and found[-1].get("role") == role and role in {"user", "assistant"}:
            found[-1] = _joined(found[-1], message)
        else:
            found.append(message)
    return found


def _joined(first: Message, second: Message) -> Message:
    """Both messages as one, the contents in order; of other fields the first's, lists one after the other."""
    merged = {**second, **first, "content": _both(first.get("content"), second.get("content"))}
    for name in ("tool_calls", "thinking_blocks", "reasoning_items"):
        if calls := [*(first.get(name) or ()), *(second.get(name) or ())]:
            merged[name] = calls
    return merged


def _both(first: Any, second: Any) -> Any:
    if not first or not second:
        return first or second
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return [*_parts(first), *_parts(second)]


def _parts(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _as_text(message: Message) -> Message:
    content = message.get("content")
    if not isinstance(content, list) or not all(_is_text(part) for part in content):
        return message
    return {**message, "content": "\n".join(part["text"] for part in content)}


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)
