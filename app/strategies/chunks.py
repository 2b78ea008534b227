"""Chat completions in both of OpenAI's shapes, whole and as chunks, and from one to the other.

Knows the shapes, not where they come from or go to.
"""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from base.reply_text import text_of_message
from experts.confidence import Token, read_tokens
from experts.expert_replies import ReplyStream
from experts.tool_calls import JoinedCalls

Chunk = dict[str, Any]
"""One `chat.completion.chunk`."""


async def chunks_of(stream: ReplyStream) -> AsyncIterator[Chunk]:
    """The parsed chunks of a checked stream, without its end. Raises ExpertError."""
    async for events in stream:
        for event in events:
            if event.chunk is not None:
                yield event.chunk


def first_choice(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first choice of a completion or chunk; an empty one when there is none."""
    choices = document.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    return first if isinstance(first, Mapping) else {}


def chunk_text(chunk: Chunk) -> str:
    return text_of_message(first_choice(chunk).get("delta"))


def chunk_tokens(chunk: Chunk) -> list[Token]:
    return read_tokens(first_choice(chunk).get("logprobs"))


def finish_reason(document: Mapping[str, Any]) -> str | None:
    said = first_choice(document).get("finish_reason")
    return said if isinstance(said, str) else None


def without_logprobs(document: Chunk) -> Chunk:
    """The same without the log-probabilities that a strategy asked for and the client did not."""
    choices = document.get("choices")
    if not isinstance(choices, list):
        return document
    kept = [
        {name: value for name, value in choice.items() if name != "logprobs"}
        if isinstance(choice, dict)
        else choice
        for choice in choices
    ]
    return {**document, "choices": kept}


def as_completion(chunks: Sequence[Chunk]) -> dict[str, Any]:
    """The chunks of one answer as a whole completion."""
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    calls = JoinedCalls()
    tokens: list[Any] = []
    finish = None
    for chunk in chunks:
        choice = first_choice(chunk)
        delta = choice.get("delta")
        for name, value in (delta if isinstance(delta, Mapping) else {}).items():
            if isinstance(value, str) and name != "role":
                message[name] = (message.get(name) or "") + value
            elif name == "tool_calls":
                calls.add(value)
            elif isinstance(value, list):
                message[name] = [*(message.get(name) or []), *value]
        if isinstance(logprobs := choice.get("logprobs"), Mapping):
            tokens += logprobs.get("content") or []
        finish = finish_reason(chunk) or finish
    if made := calls.whole():
        message |= {"content": message["content"] or None, "tool_calls": made}
    choice = {
        "index": 0,
        "message": message,
        "logprobs": {"content": tokens, "refusal": None} if tokens else None,
        "finish_reason": finish or "stop",
    }
    envelope = _envelope(chunks[0] if chunks else {})
    return {**envelope, "object": "chat.completion", "choices": [choice]}


def _envelope(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": document.get("id") or f"chatcmpl-{time.time_ns():x}",
        "object": "chat.completion.chunk",
        "created": document.get("created") or int(time.time()),
        "model": document.get("model") or "",
    }
