"""What a fake expert says: text, log-probabilities and tool calls, before they have a dialect."""

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from experts.fake.behaviour import Behaviour
from experts.fake.chat_requests import last_user_text, prompt_tokens


class Answer:
    """To one request, `body` in chat's form. `pieces` are the tokens of the text: words with the blank before
    them."""

    def __init__(self, name: str, body: Mapping[str, Any], behaviour: Behaviour) -> None:
        self.body = body
        self.number = f"fake-{time.time_ns():x}"
        """Of its ids."""
        self.model: str = body.get("model") or "fake"
        self.created = int(time.time())
        self.tool_calls = tool_calls(body, behaviour)
        text = "" if self.tool_calls else behaviour.reply
        if text is None:
            text = f"{name} heard: {last_user_text(body)}"
            if (body.get("response_format") or {}).get("type") in ("json_object", "json_schema"):
                text = json.dumps({"answer": text})
        self.pieces = _pieces(text)
        self.finish_reason = "tool_calls" if self.tool_calls else behaviour.finish_reason
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        if limit and len(self.pieces) > limit:
            self.pieces = self.pieces[:limit]
            self.finish_reason = "length"
        self.choices = min(int(body.get("n") or 1), behaviour.most_choices or sys.maxsize)
        own = [_pieces(each) for each in behaviour.choices] or [self.pieces]
        self.said = [own[index % len(own)] for index in range(self.choices)]
        """The pieces of each choice."""
        told = behaviour.confidence if body.get("logprobs") else None
        self.logprob = None if told is None else math.log(told)
        self.surest = behaviour.surest
        self.prompt_tokens = prompt_tokens(body)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def answer_tokens(self) -> int:
        return sum(map(len, self.said))


def tool_calls(body: Mapping[str, Any], behaviour: Behaviour) -> list[dict[str, Any]]:
    """A call of the first tool, in chat's form, where the behaviour and the calls so far leave one."""
    tools: list[Any] = body.get("tools") or []
    messages: list[Any] = body.get("messages") or [{}]
    results = sum(message.get("role") == "tool" for message in messages)
    if not tools or body.get("tool_choice") == "none":
        return []
    if behaviour.tool_steps is None:
        if behaviour.reply is not None or messages[-1].get("role") == "tool":
            return []
        step, arguments = 0, {"text": last_user_text(body)}
    else:
        if results >= behaviour.tool_steps:
            return []
        step = results
        arguments = _arguments(tools[0]["function"].get("parameters"), last_user_text(body), step)
    called = {"name": tools[0]["function"]["name"], "arguments": json.dumps(arguments)}
    return [{"id": f"call_fake_{step}", "type": "function", "function": called}]


def _arguments(schema: Any, text: str, step: int) -> dict[str, Any]:
    """Arguments for a tool's schema that differ from step to step."""
    fields = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(fields, dict) or not fields:
        return {"text": text, "step": step}
    return {
        name: _value(about if isinstance(about, dict) else {}, text, step) for name, about in fields.items()
    }


def _value(schema: Mapping[str, Any], text: str, step: int) -> Any:
    if options := schema.get("enum"):
        return options[step % len(options)]
    kind = schema.get("type")
    match kind[0] if isinstance(kind, list) and kind else kind:
        case "integer" | "number":
            return step
        case "boolean":
            return step % 2 == 0
        case "array":
            return []
        case "object":
            return {}
        case _:
            return f"{text} ({step})"


def _pieces(text: str) -> Sequence[str]:
    words = text.split(" ")
    return [word if index == 0 else f" {word}" for index, word in enumerate(words)] if text else []
