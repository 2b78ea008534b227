"""Lower and upper estimates of a conversation's tokens without a tokenizer; not for billing.

Requests are rejected by the lower one (about 0.8 of the true count for English prose), since the expert's
server rejects the rest with exact counts; token limits are reserved by the upper one.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

CHARS_PER_TOKEN = 5.0
"""BPE vocabularies of 32k to 256k entries average 4.2 to 4.7 characters per token on English prose."""
TOKENS_PER_MESSAGE = 3
"""Role and delimiters in the usual chat templates."""
BYTES_PER_TOKEN = 3.0
"""Below every tokenizer's average on prose and code."""
MOST_PER_MESSAGE = 6


def estimate_prompt_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """A lower estimate for OpenAI-shaped messages: text and tool calls' arguments; images count nothing."""
    return sum(_message_tokens(message) for message in messages)


def most_prompt_tokens(
    messages: Sequence[Mapping[str, Any]], *, system_prompt: str | None = None, tools: Any = None
) -> int:
    """An upper estimate: text, tool calls and tool descriptions; images count nothing."""
    # Joined to the client's system message by an empty line.
    size = len(_utf8(f"{system_prompt}\n\n")) if system_prompt else 0
    for message in messages:
        size += _size(message.get("content"))
        if calls := message.get("tool_calls"):
            size += len(_utf8(str(calls)))
    if tools:
        size += len(_utf8(str(tools)))
    return math.ceil(size / BYTES_PER_TOKEN) + MOST_PER_MESSAGE * (len(messages) + 1)


def _size(content: Any) -> int:
    """Bytes of text."""
    if isinstance(content, str):
        return len(_utf8(content))
    if isinstance(content, Sequence) and not isinstance(content, bytes):
        return sum(_size(part.get("text")) for part in content if isinstance(part, Mapping))
    return 0


def _utf8(text: str) -> bytes:
    # JSON can hold halves of surrogate pairs.
    return text.encode("utf-8", "surrogatepass")


def _message_tokens(message: Mapping[str, Any]) -> int:
    length = _length(message.get("content"))
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            length += _length(function.get("name")) + _length(function.get("arguments"))
    return TOKENS_PER_MESSAGE + int(length / CHARS_PER_TOKEN)


def _length(content: Any) -> int:
    """Characters, with runs of white space counted once."""
    if isinstance(content, str):
        words = content.split()
        return sum(map(len, words)) + max(0, len(words) - 1)
    if isinstance(content, Sequence) and not isinstance(content, bytes):
        return sum(_length(part.get("text")) for part in content if isinstance(part, Mapping))
    return 0
