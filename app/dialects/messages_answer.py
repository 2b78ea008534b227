"""A chat completion as a message of Anthropic's API; also what its streamed form has in common with it.

https://platform.claude.com/docs/en/api/messages. Knows documents only.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from app.dialects.chat_fields import calls_of, read_object, reasoning_of, signed_blocks, text_of
from base.usage import TokenUsage

INVALID_ARGUMENTS = "invalid_arguments"
"""The one field of a call's input whose arguments were no JSON object: the text as the model wrote it, so
that the tool refuses it and the model hears of it."""
STOP_REASONS: Mapping[str, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """What of a request shapes its answer."""

    thinking: bool = False
    """Whether the client asked for thinking: others may not expect such blocks."""
    thinking_text: bool = True
    """False: thinking blocks come without their text."""
    stop_sequences: Collection[str] = ()

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "AnswerOptions":
        """Read the client's request."""
        thinking = document.get("thinking")
        thinking = thinking if isinstance(thinking, dict) else {}
        return cls(
            thinking=thinking.get("type") in ("enabled", "adaptive", "between_tools"),
            thinking_text=thinking.get("display") != "omitted",
            stop_sequences=frozenset(document.get("stop_sequences") or ()),
        )


def new_message(answer: Mapping[str, Any], routing: Mapping[str, Any]) -> dict[str, Any]:
    """A message without content, as `message_start` has it. `answer`: a completion, or a chunk of one."""
    return {
        "id": "msg_" + str(routing["id"]).removeprefix("dec_"),
        "type": "message",
        "role": "assistant",
        "model": str(answer.get("model") or ""),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "usage": message_usage(answer.get("usage")),
        "routing": routing,
    }


def whole_message(
    completion: Mapping[str, Any], routing: Mapping[str, Any], options: AnswerOptions
) -> dict[str, Any]:
    """The first choice of a chat completion as a message: thinking, text, tool calls."""
    choice = completion["choices"][0]
    said = choice["message"]
    content: list[dict[str, Any]] = []
    if options.thinking:
        content += _thinking_blocks(said, options)
    refusal = said.get("refusal")
    text = text_of(said.get("content"))
    if text:
        content.append({"type": "text", "text": text})
    if isinstance(refusal, str) and refusal:
        content.append({"type": "text", "text": refusal})
    calls = [call for call in calls_of(said) if isinstance(call.get("function"), dict)]
    for call in calls:
        function = call["function"]
        arguments = tool_input(function.get("arguments"))
        content.append(tool_use(call.get("id"), function.get("name"), arguments))
    end = ending(choice, options, called=bool(calls), refusal=refusal)
    return {**new_message(completion, routing), "content": content, **end}


def tool_use(call_id: Any, name: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A `tool_use` block; a server's missing id is made up."""
    return {
        "type": "tool_use",
        "id": call_id if isinstance(call_id, str) and call_id else f"toolu_{uuid4().hex}",
        "name": str(name or ""),
        "input": dict(arguments),
    }


def tool_input(arguments: Any) -> dict[str, Any]:
    """A call's arguments as an object, see `INVALID_ARGUMENTS`."""
    if isinstance(arguments, dict):
        return arguments
    if not isinstance(arguments, str) or not arguments.strip():
        return {}
    read = read_object(arguments)
    return {INVALID_ARGUMENTS: arguments} if read is None else read


def ending(
    choice: Mapping[str, Any], options: AnswerOptions, *, called: bool, refusal: Any = None
) -> dict[str, Any]:
    """`stop_reason`, `stop_sequence` and `stop_details` of a finished choice. `called`: it made tool calls;
    servers say "stop" after some, and "tool_calls" after none."""
    reason = STOP_REASONS.get(str(choice.get("finish_reason")), "end_turn")
    if reason in {"end_turn", "tool_use"}:
        reason = "tool_use" if called else "end_turn"
    sequence, met = None, choice.get("stop_reason")
    if reason == "end_turn" and isinstance(met, str) and met in options.stop_sequences:
        # vLLM names the stop string that it met; others say no more than "stop".
        reason, sequence = "stop_sequence", met
    details = None
    if reason == "refusal" or (isinstance(refusal, str) and refusal):
        reason = "refusal"
        details = {"type": "refusal", "category": None, "explanation": refusal or None}
    return {"stop_reason": reason, "stop_sequence": sequence, "stop_details": details}


def message_usage(usage: Any) -> dict[str, Any]:
    """Chat's `usage` in Anthropic's counts: `input_tokens` are those that no cache held."""
    counted = TokenUsage.of(usage)
    details = usage.get("prompt_tokens_details") if isinstance(usage, Mapping) else None
    written = details.get("cache_creation_tokens") if isinstance(details, Mapping) else None
    cached = counted.cached or 0
    created = written if isinstance(written, int) and written > 0 else 0
    document: dict[str, Any] = {
        "input_tokens": max(0, (counted.prompt or 0) - cached - created),
        "cache_creation_input_tokens": created,
        "cache_read_input_tokens": cached,
        "output_tokens": counted.completion or 0,
    }
    if counted.reasoning is not None:
        document["output_tokens_details"] = {"thinking_tokens": counted.reasoning}
    return document


def _thinking_blocks(said: Mapping[str, Any], options: AnswerOptions) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for block in signed_blocks(said):
        if block.get("type") == "redacted_thinking":
            found.append({"type": "redacted_thinking", "data": str(block.get("data") or "")})
        else:
            found.append(_thinking(str(block.get("thinking") or ""), block.get("signature"), options))
    if not found and (text := reasoning_of(said)):
        found.append(_thinking(text, None, options))
    return found


def _thinking(text: str, signature: Any, options: AnswerOptions) -> dict[str, Any]:
    return {
        "type": "thinking",
        "thinking": text if options.thinking_text else "",
        "signature": signature if isinstance(signature, str) else "",
    }
