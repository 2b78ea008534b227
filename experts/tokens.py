"""How many tokens a conversation has at least, without any tokenizer.

Refusing a request that would have fitted is worse than sending one that the expert's own server then
refuses with the exact count. So the estimate errs low: it is about 0.8 of the true count for English prose,
less for code and for scripts other than Latin. It never stands for billing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

CHARS_PER_TOKEN = 5.0
"""BPE vocabularies of 32k to 256k entries average 4.2 to 4.7 characters a token on English prose."""
TOKENS_PER_MESSAGE = 3
"""Role and delimiters in the usual chat templates."""


def estimate_prompt_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """A low estimate of the tokens in OpenAI-shaped messages. Counts text, and tool calls' arguments;
    pictures and everything unknown count nothing."""
    return sum(_message_tokens(message) for message in messages)


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
