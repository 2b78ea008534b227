"""The chat template of a model folder: a request's messages and tools as the text that the model reads.

Rendered as Transformers and vLLM render it. Knows nothing of tokens.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

TEMPLATE_FILE, CONFIG_FILE, SPECIAL_FILE = (
    "chat_template.jinja",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")


class TemplateRefusal(Exception):
    """The template does not take this conversation."""


class ChatTemplate:
    """A compiled template with the names of its model's special tokens."""

    def __init__(self, source: str, special: Mapping[str, str]) -> None:
        """Raises ValueError for a template that does not compile."""
        from jinja2 import TemplateError
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise ValueError(f"the chat template does not compile: {error}") from error
        self._special = dict(special)

    @classmethod
    def of_folder(cls, folder: Path) -> "ChatTemplate | None":
        """The template of a model folder; None when it has none. Raises OSError and ValueError."""
        config = _document(folder / CONFIG_FILE)
        source = config.get("chat_template")
        if isinstance(source, list):
            named = {each.get("name"): each.get("template") for each in source if isinstance(each, Mapping)}
            source = named.get("default")
        if (folder / TEMPLATE_FILE).is_file():
            source = (folder / TEMPLATE_FILE).read_text(encoding="utf-8")
        if not isinstance(source, str):
            return None
        known = {**_document(folder / SPECIAL_FILE), **config}
        special = {name: text for name in _SPECIAL if (text := _token(known.get(name))) is not None}
        return cls(source, special)

    def render(self, body: Mapping[str, Any]) -> str:
        """The prompt of a chat completion request. Raises TemplateRefusal."""
        from jinja2 import TemplateError

        own = body.get("chat_template_kwargs")
        try:
            return self._template.render(
                **{
                    **(own if isinstance(own, Mapping) else {}),
                    **self._special,
                    "messages": [_message(each) for each in body["messages"]],
                    "tools": body.get("tools") or None,
                    "documents": body.get("documents"),
                    "add_generation_prompt": body.get("add_generation_prompt", True),
                }
            )
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            # A template meets whatever a client wrote.
            raise TemplateRefusal(type(error).__name__) from error


def _message(message: Any) -> Any:
    """A message as vLLM hands it to a template: content as text, arguments of calls as objects."""
    if not isinstance(message, Mapping):
        return message
    said = dict(message)
    content = said.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        said["content"] = "\n".join(_part_text(part) for part in content)
    elif content is None:
        said["content"] = ""
    calls = said.get("tool_calls")
    if isinstance(calls, Sequence) and not isinstance(calls, str):
        said["tool_calls"] = [_call(call) for call in calls]
    elif "tool_calls" in said:
        del said["tool_calls"]
    return said


def _part_text(part: Any) -> str:
    text = part.get("text") if isinstance(part, Mapping) else part
    return text if isinstance(text, str) else ""


def _call(call: Any) -> Any:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"])
    except (ValueError, RecursionError):
        arguments = function["arguments"]
    return {**call, "function": {**function, "arguments": arguments}}


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    # Jinja's own filter escapes signs of HTML.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _refuse(message: str) -> None:
    raise TemplateRefusal(message)


def _document(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def _token(value: Any) -> str | None:
    text = value.get("content") if isinstance(value, Mapping) else value
    return text if isinstance(text, str) else None
