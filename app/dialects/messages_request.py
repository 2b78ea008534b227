"""A request of Anthropic's Messages API as a chat completion request.

https://platform.claude.com/docs/en/api/messages. Knows documents only: what the router makes of them, and
which expert gets them, is decided elsewhere.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.dialects.content_parts import chat_part
from app.dialects.dialect import Translation, needs_native_server
from app.dialects.messages_options import chat_options
from app.dialects.messages_tools import chat_tool_choice, chat_tools
from app.errors import ServiceError

BILLING_BLOCK = "x-anthropic-billing-header:"
"""A system block of Claude Code for Anthropic's billing; it changes between requests, and would spoil every
prefix cache."""
SAME_NAME = ("temperature", "top_p", "top_k", "max_tokens", "stream", "routing", "model")
STATEFUL = ("mcp_servers", "container", "compaction")
"""Fields that need what only Anthropic's own service has: connectors, containers, its own summaries."""
TOOL_CHANGES = frozenset({"tool_addition", "tool_removal"})

Message = dict[str, Any]
Part = dict[str, Any]


def to_chat(document: Mapping[str, Any]) -> Translation:
    """The request as a chat completion request. `document` is valid as `MessagesBody` or `TokenCountBody`.
    Raises ServiceError (400) for unknown kinds of blocks and tools."""
    return _Translator(document).translation()


class _Translator:
    """Translates one request."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._messages: list[Message] = []
        self._native_path: str | None = None
        """Of the first thing that only a server can do that speaks Messages itself."""

    def translation(self) -> Translation:
        document = self._document
        if document.get("thread") is not None:
            # Anthropic's code for it: its SDK then goes on without threads.
            raise ServiceError(
                400,
                "thread_unsupported_request",
                "thread: conversations are not kept here; send the whole conversation without it.",
                param="thread",
            )
        chat: dict[str, Any] = {name: document[name] for name in SAME_NAME if document.get(name) is not None}
        for name in STATEFUL:
            if document.get(name):
                self._needs_native(name)
        self._add_system(document.get("system"), "system")
        for number, turn in enumerate(document["messages"]):
            self._add_turn(turn, f"messages[{number}]")
        chat["messages"] = [_finished(message) for message in self._messages]
        if not any(message["role"] != "system" for message in self._messages):
            raise _bad("messages", "need a user message")
        if _is_prefill(self._messages[-1]):
            # How vLLM is told to go on with the last message; without it, it would begin a new one.
            chat |= {"continue_final_message": True, "add_generation_prompt": False}
        if stop := document.get("stop_sequences"):
            chat["stop"] = stop
        chat |= self._tools() | chat_options(document)
        path = self._native_path
        return Translation(chat, None if path is None else needs_native_server("messages", path))

    def _tools(self) -> dict[str, Any]:
        functions, native_path = chat_tools(self._document.get("tools") or ())
        self._needs_native(native_path)
        choice = self._document.get("tool_choice")
        fields = {} if choice is None else chat_tool_choice(choice)
        return {"tools": functions, **fields} if functions else {}

    def _needs_native(self, path: str | None) -> None:
        self._native_path = self._native_path or path

    def _add_system(self, content: Any, path: str) -> None:
        texts = [text for text in self._texts(content, path) if not text.startswith(BILLING_BLOCK)]
        if texts:
            self._messages.append({"role": "system", "content": "\n".join(texts)})

    def _without_tool_changes(self, content: Any, path: str) -> Any:
        """A system message in the middle without the blocks by which tools come and go."""
        if isinstance(content, str):
            return content
        kept = []
        for number, block in enumerate(content):
            if block["type"] in TOOL_CHANGES:
                self._needs_native(f"{path}[{number}]")
            else:
                kept.append(block)
        return kept

    def _texts(self, content: Any, path: str) -> list[str]:
        if content is None:
            return []
        if isinstance(content, str):
            return [content] if content else []
        if not isinstance(content, list):
            raise _bad(path, "must be a string or a list of text blocks")
        texts = []
        for number, block in enumerate(content):
            part = block if isinstance(block, dict) else {}
            if part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise _bad(f"{path}[{number}]", "must be a text block here")
            texts.append(part["text"])
        return texts

    def _add_turn(self, turn: Mapping[str, Any], path: str) -> None:
        content, path = turn["content"], f"{path}.content"
        match turn["role"]:
            case "system":
                self._add_system(self._without_tool_changes(content, path), path)
            case "assistant":
                self._add_assistant(_blocks(content), path)
            case _:
                self._add_user(_blocks(content), path)

    def _add_user(self, blocks: Sequence[Mapping[str, Any]], path: str) -> None:
        """Tool results come first, as chat completions want them right behind the calls."""
        parts: list[Part] = []
        for number, block in enumerate(blocks):
            where = f"{path}[{number}]"
            if block["type"] == "tool_result":
                parts += self._add_result(block, where)
            else:
                parts += self._parts(block, where)
        if not parts and any(block["type"] == "tool_result" for block in blocks):
            return
        last = self._messages[-1] if self._messages else None
        if last is not None and last["role"] == "user":
            last["content"] += parts
        else:
            self._messages.append({"role": "user", "content": parts})

    def _add_result(self, block: Mapping[str, Any], path: str) -> list[Part]:
        """Add the tool's message; the images and files in its result are returned, for the user's message:
        a tool's holds text alone."""
        call = block.get("tool_use_id")
        if not isinstance(call, str):
            raise _bad(f"{path}.tool_use_id", "is required: the id of the tool_use block")
        content = block.get("content")
        if content is not None and not isinstance(content, str | list):
            raise _bad(f"{path}.content", "must be a string or a list of content blocks")
        texts: list[str] = []
        others: list[Part] = []
        for number, inner in enumerate(_blocks(content or "")):
            for part in self._parts(inner, f"{path}.content[{number}]"):
                if part["type"] == "text":
                    texts.append(part["text"])
                else:
                    others.append(part)
        text = "\n".join(texts)
        if block.get("is_error") is True:
            text = f"Error: {text}" if text else "Error"
        self._messages.append({"role": "tool", "tool_call_id": call, "content": text})
        return others

    def _parts(self, block: Any, path: str) -> list[Part]:
        """A user's block as parts of a chat message."""
        kind = block.get("type") if isinstance(block, dict) else None
        match kind:
            case "text":
                if not isinstance(block.get("text"), str):
                    raise _bad(f"{path}.text", "must be a string")
                return [{"type": "text", "text": block["text"]}]
            case "image":
                return self._image(_source(block, path), f"{path}.source")
            case "document":
                return self._file(block, _source(block, path), f"{path}.source")
            case "search_result":
                return [{"type": "text", "text": self._search_result(block, path)}]
            case "tool_reference":
                return [{"type": "text", "text": f"The tool {block.get('tool_name')} can be used now."}]
            case "container_upload" | "browser_state":
                self._needs_native(path)
                return []
            case _:
                there_are = "text, image, document, search_result, tool_result"
                raise _bad(f"{path}.type", f"is no content block of a user message; there are {there_are}")

    def _image(self, source: Mapping[str, Any], path: str) -> list[Part]:
        match source.get("type"):
            case "base64":
                url = _data_url(source, path)
            case "url" if isinstance(source.get("url"), str):
                url = source["url"]
            case "file":
                self._needs_native(path)
                return []
            case _:
                raise _bad(path, "must be base64 (media_type, data), url (url) or file (file_id)")
        return [{"type": "image_url", "image_url": {"url": url}}]

    def _file(self, block: Mapping[str, Any], source: Mapping[str, Any], path: str) -> list[Part]:
        match source.get("type"):
            case "base64":
                name = block.get("title") or "document.pdf"
                file = {"filename": name, "file_data": _data_url(source, path)}
                return [chat_part({"type": "file", "file": file}, path)]
            case "text" if isinstance(source.get("data"), str):
                return [{"type": "text", "text": _titled("document", block, source["data"])}]
            case "content" if isinstance(source.get("content"), str | list):
                parts: list[Part] = []
                for number, inner in enumerate(_blocks(source["content"])):
                    where = f"{path}.content[{number}]"
                    if not isinstance(inner, dict) or inner.get("type") not in ("text", "image"):
                        raise _bad(where, "must be a text or image block here")
                    parts += self._parts(inner, where)
                text = "\n".join(part["text"] for part in parts if part["type"] == "text")
                images = [part for part in parts if part["type"] != "text"]
                return [{"type": "text", "text": _titled("document", block, text)}, *images]
            case "url" | "file":
                self._needs_native(path)
                return []
            case _:
                raise _bad(path, "must be base64 (media_type, data), text (data), content, url or file")

    def _search_result(self, block: Mapping[str, Any], path: str) -> str:
        texts = self._texts(block.get("content"), f"{path}.content")
        return _titled("search_result", block, "\n".join(texts))

    def _add_assistant(self, blocks: Sequence[Mapping[str, Any]], path: str) -> None:
        last = self._messages[-1] if self._messages else None
        if last is None or last["role"] != "assistant":
            last = {"role": "assistant", "content": []}
            self._messages.append(last)
        for number, block in enumerate(blocks):
            self._add_assistant_block(last, block, f"{path}[{number}]")

    def _add_assistant_block(self, message: Message, block: Mapping[str, Any], path: str) -> None:
        """One block of an assistant's message."""
        kind = block["type"]
        if kind == "text":
            message["content"] += self._parts(block, path)
        elif kind == "thinking":
            _add_thinking(message, block, path)
        elif kind == "redacted_thinking":
            message.setdefault("thinking_blocks", []).append(dict(block))
        elif kind == "tool_use":
            message.setdefault("tool_calls", []).append(_tool_call(block, path))
        elif kind == "server_tool_use" or kind.endswith("_tool_result") or kind == "container_upload":
            self._needs_native(path)
        elif kind not in {"fallback", "compaction"}:  # marks of Anthropic's service, without text for others
            raise _bad(f"{path}.type", "is no content block of an assistant message")
        elif kind == "compaction" and isinstance(block.get("content"), str):
            message["content"].append({"type": "text", "text": block["content"]})


def _add_thinking(message: Message, block: Mapping[str, Any], path: str) -> None:
    """The text for servers that take reasoning back; the block itself where a server signed it."""
    text = block.get("thinking")
    if not isinstance(text, str):
        raise _bad(f"{path}.thinking", "must be a string")
    if text:
        message["reasoning_content"] = message.get("reasoning_content", "") + text
    if block.get("signature"):
        message.setdefault("thinking_blocks", []).append(dict(block))


def _tool_call(block: Mapping[str, Any], path: str) -> dict[str, Any]:
    for name in ("id", "name"):
        if not isinstance(block.get(name), str):
            raise _bad(f"{path}.{name}", "is required")
    arguments = block.get("input") or {}
    if not isinstance(arguments, dict):
        raise _bad(f"{path}.input", "must be an object")
    written = json.dumps(arguments, ensure_ascii=False)
    return {
        "id": block["id"],
        "type": "function",
        "function": {"name": block["name"], "arguments": written},
    }


def _blocks(content: str | list[Any]) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _source(block: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    source = block.get("source")
    if not isinstance(source, dict):
        raise _bad(f"{path}.source", "is required")
    return source


def _data_url(source: Mapping[str, Any], path: str) -> str:
    kind, data = source.get("media_type"), source.get("data")
    if not isinstance(kind, str) or not isinstance(data, str):
        raise _bad(path, "needs media_type and data")
    return f"data:{kind};base64,{data}"


def _titled(tag: str, block: Mapping[str, Any], text: str) -> str:
    """A text with its title, source and context, in the tags that models know from prompts."""
    said = {name: block.get(name) for name in ("title", "source") if isinstance(block.get(name), str)}
    attributes = "".join(f" {name}={json.dumps(value, ensure_ascii=False)}" for name, value in said.items())
    context = f"{block['context']}\n" if isinstance(block.get("context"), str) else ""
    return f"<{tag}{attributes}>\n{context}{text}\n</{tag}>"


def _finished(message: Message) -> Message:
    """With content in the form that most servers take: text alone as a string, an assistant's always."""
    content = message["content"]
    if isinstance(content, str):
        return message
    if message["role"] == "assistant":
        text = "".join(part["text"] for part in content)
        return {**message, "content": None if "tool_calls" in message and not text else text}
    if not content:
        return {**message, "content": ""}
    if len(content) == 1 and content[0]["type"] == "text":
        return {**message, "content": content[0]["text"]}
    return message


def _is_prefill(message: Message) -> bool:
    return message["role"] == "assistant" and bool(message["content"]) and "tool_calls" not in message


def _bad(path: str, message: str) -> ServiceError:
    return ServiceError(400, "invalid_value", f"{path}: {message}.", param=path)
