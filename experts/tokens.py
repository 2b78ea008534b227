"""How many tokens a conversation has at least, and at most, without any tokenizer.

Refusing a request that would have fitted is worse than sending one that the expert's own server then
refuses with the exact count. So the estimate that requests are refused by errs low: it is about 0.8 of the
true count for English prose, less for code and for scripts other than Latin. What is set aside for a prompt
under a limit errs high. Neither ever stands for billing.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

CHARS_PER_TOKEN = 5.0
"""BPE vocabularies of 32k to 256k entries average 4.2 to 4.7 characters a token on English prose."""
TOKENS_PER_MESSAGE = 3
"""Role and delimiters in the usual chat templates."""
BYTES_PER_TOKEN = 3.0
"""Fewer than any tokenizer's average on prose or code: what is set aside for a prompt should suffice."""
MOST_PER_MESSAGE = 6


def estimate_prompt_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """A low estimate of the tokens in OpenAI-shaped messages. Counts text, and tool calls' arguments;
    pictures and everything unknown count nothing."""
    return sum(_message_tokens(message) for message in messages)


def most_prompt_tokens(
    messages: Sequence[Mapping[str, Any]], *, system_prompt: str | None = None, tools: Any = None
) -> int:
    """Tokens to set aside for a prompt: more than it has, unless its tokens are very short. Counts text,
    tool calls and the tools' descriptions; pictures and everything unknown count nothing."""
    # An empty line joins it to the client's own.
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
    """Characters that make tokens: runs of blanks count once, since tokenizers have tokens for them."""
    if isinstance(content, str):
        words = content.split()
        return sum(map(len, words)) + max(0, len(words) - 1)
    if isinstance(content, Sequence) and not isinstance(content, bytes):
        return sum(_length(part.get("text")) for part in content if isinstance(part, Mapping))
    return 0
