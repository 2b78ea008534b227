"""What a fake expert is asked: requests of every dialect as chat requests, read no further than it needs."""

from collections.abc import Callable, Mapping
from typing import Any

from experts.expert import DialectName

Body = Mapping[str, Any]


def as_chat_request(dialect: DialectName, body: Body) -> dict[str, Any]:
    """The request as a chat request."""
    return _READERS[dialect](body)


def text_of(content: Any) -> str:
    """The text of a message's content."""
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def last_user_text(body: Body) -> str:
    said = [message for message in body.get("messages", []) if message.get("role") == "user"]
    return text_of(said[-1].get("content")) if said else ""


def prompt_tokens(body: Body) -> int:
    """A token for each word, and one for each message."""
    return sum(len(text_of(message.get("content")).split()) + 1 for message in body.get("messages", []))


def _of_completions(body: Body) -> dict[str, Any]:
    prompt = body.get("prompt")
    texts = prompt if isinstance(prompt, list) and all(isinstance(each, str) for each in prompt) else [prompt]
    said = " ".join(each for each in texts if isinstance(each, str))
    return {**_kept(body), "messages": [{"role": "user", "content": said}]}


def _of_responses(body: Body) -> dict[str, Any]:
    given = body.get("input")
    items = given if isinstance(given, list) else [{"role": "user", "content": given}]
    messages = [_message_of_item(item) for item in items if isinstance(item, dict)]
    if body.get("instructions"):
        messages.insert(0, {"role": "system", "content": body["instructions"]})
    out = {**_kept(body), "messages": [message for message in messages if message]}
    if body.get("max_output_tokens"):
        out["max_tokens"] = body["max_output_tokens"]
    if isinstance(body.get("text"), dict) and "format" in body["text"]:
        out["response_format"] = body["text"]["format"]
    if "message.output_text.logprobs" in (body.get("include") or ()):
        out["logprobs"] = True
    if tools := [tool for tool in body.get("tools") or [] if tool.get("type") == "function"]:
        out["tools"] = [{"type": "function", "function": tool} for tool in tools]
    return out


def _message_of_item(item: Body) -> dict[str, Any]:
    match item.get("type", "message"):
        case "message":
            return {"role": item.get("role", "user"), "content": item.get("content")}
        case "function_call":
            called = {"name": item.get("name"), "arguments": item.get("arguments")}
            call = {"id": item.get("call_id"), "type": "function", "function": called}
            return {"role": "assistant", "content": None, "tool_calls": [call]}
        case "function_call_output":
            return {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
        case _:
            return {}


def _of_messages(body: Body) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    if body.get("system"):
        messages.append({"role": "system", "content": body["system"]})
    for message in body.get("messages") or []:
        content = message.get("content")
        blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
        texts = [block for block in blocks if block.get("type") == "text"]
        messages += [
            {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": block.get("content")}
            for block in blocks
            if block.get("type") == "tool_result"
        ]
        if texts:
            messages.append({"role": message.get("role"), "content": texts})
    out = {**_kept(body), "messages": messages}
    if body.get("tools"):
        out["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.get("name"), "parameters": tool.get("input_schema")},
            }
            for tool in body["tools"]
        ]
    if isinstance(body.get("tool_choice"), dict) and body["tool_choice"].get("type") == "none":
        out["tool_choice"] = "none"
    return out


def _kept(body: Body) -> dict[str, Any]:
    """What has the same name and meaning in every dialect."""
    same = ("fake", "logprobs", "max_tokens", "model", "n", "stream", "stream_options", "tool_choice")
    return {name: body[name] for name in same if name in body}


_READERS: Mapping[DialectName, Callable[[Body], dict[str, Any]]] = {
    "chat": dict,
    "completions": _of_completions,
    "responses": _of_responses,
    "messages": _of_messages,
}
