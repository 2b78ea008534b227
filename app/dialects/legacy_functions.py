"""`functions` and `function_call`, which `tools` and `tool_choice` have replaced; old clients send them.

Experts get tools. The client gets its answer in the form that it asked in: one call, not a list.
https://platform.openai.com/docs/api-reference/chat/create
"""

from collections.abc import Mapping
from typing import Any

Document = Mapping[str, Any]


def with_tools(document: Document) -> Document:
    """`document` with tools and tool calls in the place of functions and function calls; the document itself
    where it has none. `functions` stays beside them, so that the answer's form is known."""
    functions, messages = document.get("functions"), document.get("messages")
    told = isinstance(functions, list) and not document.get("tools")
    used = isinstance(messages, list) and any(map(_is_legacy, messages))
    if not told and not used and "functions" not in document:
        return document
    out = {name: value for name, value in document.items() if name != "functions"}
    if told:
        out["functions"] = functions
        out["tools"] = [{"type": "function", "function": each} for each in functions or ()]
        if (choice := document.get("function_call")) is not None and document.get("tool_choice") is None:
            named = isinstance(choice, Mapping)
            out["tool_choice"] = {"type": "function", "function": choice} if named else choice
    if used:
        out["messages"] = _messages(messages or [])
    return out


def _is_legacy(message: Any) -> bool:
    return isinstance(message, Mapping) and (message.get("role") == "function" or "function_call" in message)


def _messages(messages: list[Any]) -> list[Any]:
    """The messages with an id for each call, which the result after it names."""
    found: list[Any] = []
    calls = 0
    for message in messages:
        if not _is_legacy(message):
            found.append(message)
            continue
        rest = {name: value for name, value in message.items() if name not in {"function_call", "name"}}
        if message.get("role") == "function":
            found.append({**rest, "role": "tool", "tool_call_id": _id(max(calls, 1))})
        elif isinstance(call := message.get("function_call"), Mapping):
            calls += 1
            made = {"id": _id(calls), "type": "function", "function": call}
            found.append({"content": None, **rest, "tool_calls": [made]})
        else:
            found.append({name: value for name, value in message.items() if name != "function_call"})
    return found


def _id(number: int) -> str:
    """Nine letters and digits: what Mistral's templates take."""
    return f"call{number:05d}"


def with_function_call(answer: Document, part: str) -> dict[str, Any]:
    """A completion (`part` "message") or a chunk ("delta") with its first tool call as a function call."""
    choices = answer.get("choices")
    return {**answer, "choices": [_choice(each, part) for each in choices or ()]}


def _choice(choice: Any, part: str) -> Any:
    if not isinstance(choice, Mapping):
        return choice
    out = dict(choice)
    if choice.get("finish_reason") == "tool_calls":
        out["finish_reason"] = "function_call"
    said = choice.get(part)
    if isinstance(said, Mapping) and "tool_calls" in said:
        out[part] = {name: value for name, value in said.items() if name != "tool_calls"}
        first = next((call for call in said["tool_calls"] or () if _is_first(call)), None)
        if first is not None:
            out[part]["function_call"] = first.get("function")
    return out


def _is_first(call: Any) -> bool:
    """Chunks number their calls; in a whole answer the first one is."""
    return isinstance(call, Mapping) and call.get("index", 0) == 0
