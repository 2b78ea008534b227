"""The items of a Responses request as messages of a chat completion.

An assistant's turn may be several items (its reasoning, text, and calls of tools): one message in chat.
Reasoning goes along as `reasoning_content`; what only its author can read of it (`encrypted_content`) in the
field that it came in, or as `reasoning_items`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from app.dialects.content_parts import chat_part
from app.dialects.responses_state import CALLS as CALL_STATE
from app.dialects.responses_state import LISTS, REASONING, decode_state
from app.dialects.responses_tools import ToolName, custom_arguments
from app.errors import ServiceError

ROLES = ("user", "assistant", "system", "developer")
CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
"""Items that call a tool, and the field with what the call says."""
REFERENCE = "item_reference"
OUTPUTS = ("function_call_output", "custom_tool_call_output")
OUTPUT_IN_NEXT_MESSAGE = "The output is in the next message."
PARTS = (
    *("input_image", "input_file", "input_audio"),
    *("image_url", "video_url", "audio_url", "file"),
)
"""Parts beside text, in both forms: clients mix them."""


def chat_messages(
    items: str | Sequence[Any], instructions: str | None = None
) -> tuple[list[dict[str, Any]], ServiceError | None]:
    """The messages, and the error for the first item that is left out, because only a server that speaks
    Responses can take it. Raises ServiceError (400) for an invalid item."""
    builder = _MessageBuilder()
    if instructions:
        builder.messages.append({"role": "system", "content": instructions})
    if isinstance(items, str):
        builder.messages.append({"role": "user", "content": items})
        return builder.messages, None
    for index, item in enumerate(items):
        builder.add(item, f"input[{index}]")
    return builder.finish(), builder.native_only


def kind_of(item: Mapping[str, Any]) -> str:
    """The type of an item; messages and references need not say it."""
    kind = item.get("type")
    if kind is not None:
        return str(kind)
    return "message" if "role" in item else REFERENCE if "id" in item else ""


class _MessageBuilder:
    """Messages so far, and the assistant's message that further items belong to."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.native_only: ServiceError | None = None
        self._open: dict[str, Any] | None = None
        """The last message while it is the assistant's own turn."""
        self._calls: set[str] = set()
        self._media: list[dict[str, Any]] = []
        self._call_state: dict[str, Any] = {}
        """What a provider wants back with its calls, by their ids."""

    def add(self, item: Any, where: str) -> None:
        if not isinstance(item, Mapping):
            raise _bad("must be an object", where)
        if not isinstance(item.get("type"), str | None):
            raise _bad("must be a string", f"{where}.type")
        kind = kind_of(item)
        if kind not in OUTPUTS:
            self._show_media()
        if kind == "message":
            self._message(item, where)
        elif kind == "reasoning":
            self._reasoning(item, where)
        elif kind in CALLS:
            self._call(item, kind, where)
        elif kind in OUTPUTS:
            self._output(item, where)
        elif not kind:
            raise _bad("must have a type", where)
        else:
            self.native_only = self.native_only or ServiceError(
                400,
                "unsupported_item",
                f"{where}: an item of type {kind[:80]!r} cannot be given to an expert of this service. There "
                f"are message, reasoning, {', '.join([*CALLS, *OUTPUTS])}.",
                param=where,
            )

    def finish(self) -> list[dict[str, Any]]:
        self._show_media()
        for message in self.messages:
            if message["role"] == "assistant" and "tool_calls" not in message:
                message["content"] = message["content"] or ""
            for call in message.get("tool_calls", ()):
                if call["id"] in self._call_state:
                    call["extra_content"] = self._call_state[call["id"]]
        return self.messages

    def _message(self, item: Mapping[str, Any], where: str) -> None:
        role = item.get("role")
        if role not in ROLES:
            raise _bad(f"must be one of {', '.join(ROLES)}", f"{where}.role")
        content = _content(item.get("content"), f"{where}.content")
        if role != "assistant":
            self._open = None
            self.messages.append({"role": role, "content": content})
            return
        text, refusal = _text_and_refusal(content)
        message = self._assistant(fresh=self._open is not None and not _has_only_reasoning(self._open))
        if text or refusal is None:
            message["content"] = (message["content"] or "") + text
        if refusal is not None:
            message["refusal"] = refusal

    def _reasoning(self, item: Mapping[str, Any], where: str) -> None:
        for name in ("content", "summary"):
            if not isinstance(item.get(name), list | None):
                raise _bad("must be a list of parts", f"{where}.{name}")
        state = decode_state(item.get("encrypted_content"))
        text = _reasoning_text(item) or str((state or {}).get(REASONING) or "")
        # A turn thinks first, but for thoughts between its calls.
        message = self._assistant(fresh=self._open is not None and self._open["content"] is not None)
        if text:
            before = message.get("reasoning_content")
            message["reasoning_content"] = f"{before}\n{text}" if before else text
        if state is not None:
            self._restore(message, state)
        elif item.get("encrypted_content"):
            message.setdefault("reasoning_items", []).append(dict(item))

    def _restore(self, message: dict[str, Any], state: Mapping[str, Any]) -> None:
        for name in LISTS:
            if isinstance(state.get(name), list):
                message[name] = [*message.get(name, ()), *state[name]]
        if isinstance(state.get(CALL_STATE), Mapping):
            self._call_state |= state[CALL_STATE]

    def _call(self, item: Mapping[str, Any], kind: str, where: str) -> None:
        call_id, name, said = item.get("call_id"), item.get("name"), item.get(CALLS[kind])
        for field, value in (("call_id", call_id), ("name", name), (CALLS[kind], said)):
            if not isinstance(value, str):
                raise _bad("must be a string", f"{where}.{field}")
        namespace = item.get("namespace")
        called = ToolName(str(name), namespace if isinstance(namespace, str) else None).function
        arguments = custom_arguments(str(said)) if kind == "custom_tool_call" else str(said)
        self._calls.add(str(call_id))
        self._assistant().setdefault("tool_calls", []).append(
            {"id": call_id, "type": "function", "function": {"name": called, "arguments": arguments}}
        )

    def _output(self, item: Mapping[str, Any], where: str) -> None:
        call_id = item.get("call_id")
        if not isinstance(call_id, str):
            raise _bad("must be a string", f"{where}.call_id")
        if call_id not in self._calls:
            raise ServiceError(
                400,
                "invalid_value",
                f"{where}: there is no call with the id {call_id[:80]!r} before its output. Send the call, "
                "too, or the previous_response_id of the response that made it.",
                param=f"{where}.call_id",
            )
        self._open = None
        content = _content(item.get("output"), f"{where}.output")
        if isinstance(content, list):
            media = [part for part in content if part["type"] not in ("text", "refusal")]
            self._media += media
            text = "\n".join(part["text"] for part in content if part["type"] == "text")
            content = text or (OUTPUT_IN_NEXT_MESSAGE if media else "")
        self.messages.append({"role": "tool", "tool_call_id": call_id, "content": content})

    def _show_media(self) -> None:
        """Images and files of the outputs, after the last of them: a tool's message has text alone."""
        if self._media:
            self.messages.append({"role": "user", "content": self._media})
            self._media = []

    def _assistant(self, *, fresh: bool = False) -> dict[str, Any]:
        """The message of the assistant's present turn; `fresh` begins another one, but not while a call of
        the present one waits for its output: nothing may come between."""
        if self._open is None or (fresh and "tool_calls" not in self._open):
            self._open = {"role": "assistant", "content": None}
            self.messages.append(self._open)
        return self._open


def _reasoning_text(item: Mapping[str, Any]) -> str:
    """The text of reasoning, or its summary."""
    parts = item.get("content") or item.get("summary") or ()
    return "\n".join(
        part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str)
    )


def _has_only_reasoning(message: Mapping[str, Any]) -> bool:
    return message["content"] is None and "tool_calls" not in message and "refusal" not in message


def _text_and_refusal(content: str | list[dict[str, Any]]) -> tuple[str, str | None]:
    """An assistant's text and its refusal."""
    if isinstance(content, str):
        return content, None
    refusals = [part["refusal"] for part in content if part["type"] == "refusal"]
    text = "".join(part["text"] for part in content if part["type"] == "text")
    return text, "".join(refusals) if refusals else None


def _content(content: Any, where: str) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _bad("must be a string or a list of parts", where)
    parts = [_part(part, f"{where}[{index}]") for index, part in enumerate(content)]
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts


def _part(part: Any, where: str) -> dict[str, Any]:
    if not isinstance(part, Mapping):
        raise _bad("must be an object with a type", where)
    match part.get("type"):
        case "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text":
            return {"type": "text", "text": _text(part, "text", where)}
        case "refusal":
            return {"type": "refusal", "refusal": _text(part, "refusal", where)}
        case "input_image" if part.get("file_id") and not part.get("image_url"):
            raise _no_files(f"{where}.file_id", "image_url, which may be a data: URL")
        case "input_file" if not part.get("file_data") and (kept := _file_reference(part)):
            raise _no_files(f"{where}.{kept}", "file_data")
        case kind if kind in PARTS:
            return dict(chat_part(part, where))
        case kind:
            raise ServiceError(
                400,
                "invalid_value",
                f"{where}.type: {str(kind)[:80]!r} is no part that an expert could read. There are "
                "input_text, output_text, refusal, input_image, input_file, input_audio.",
                param=f"{where}.type",
            )


def _file_reference(part: Mapping[str, Any]) -> str | None:
    """The field by which a file is named that somebody else keeps."""
    return next((name for name in ("file_id", "file_url") if part.get(name)), None)


def _text(part: Mapping[str, Any], name: str, where: str) -> str:
    text = part.get(name)
    if not isinstance(text, str):
        raise _bad("must be a string", f"{where}.{name}")
    return text


def _no_files(where: str, instead: str) -> ServiceError:
    message = f"{where}: this service keeps no files and fetches none. Send {instead}."
    return ServiceError(400, "unsupported_parameter", message, param=where)


def _bad(message: str, where: str) -> ServiceError:
    return ServiceError(400, "invalid_value", f"{where}: {message}.", param=where)
