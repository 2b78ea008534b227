"""Anthropic's tools as functions of a chat completion request.

The client's own tools and those of Anthropic's typed tools that the client itself runs (shell, text editor,
memory) become functions. Tools that run at Anthropic (web search, code execution, …) have no counterpart.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from app.errors import ServiceError

_STRING = {"type": "string"}
_PATH = {"type": "string", "description": "Absolute path of a file or folder."}
_EDITOR = {
    "path": _PATH,
    "file_text": {"type": "string", "description": "The new file's content, for create."},
    "old_str": {"type": "string", "description": "The text to replace, for str_replace."},
    "new_str": {"type": "string", "description": "What replaces old_str, for str_replace."},
    "insert_line": {"type": "integer", "description": "The line to insert after, 0 for the start."},
    "insert_text": {"type": "string", "description": "The text to insert, for insert."},
    "view_range": {
        "type": "array",
        "items": {"type": "integer"},
        "description": "First and last line to view; -1 for the end.",
    },
}


def _commands(*names: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(names), "description": "What to do."}


def _editor(*commands: str) -> tuple[str, dict[str, Any]]:
    schema = {
        "type": "object",
        "properties": {"command": _commands(*commands), **_EDITOR},
        "required": ["command", "path"],
    }
    return "View, create and edit text files.", schema


_SHELL = (
    "Run a command in a shell that keeps its state between calls.",
    {
        "type": "object",
        "properties": {
            "command": {"type": "string", "description": "The command to run."},
            "restart": {"type": "boolean", "description": "True starts the shell anew."},
        },
    },
)
_MEMORY = (
    "Keep notes in files under /memories that last beyond this conversation.",
    {
        "type": "object",
        "properties": {
            "command": _commands("view", "create", "str_replace", "insert", "delete", "rename"),
            **_EDITOR,
            "old_path": _STRING,
            "new_path": _STRING,
        },
        "required": ["command"],
    },
)
CLIENT_TOOLS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "bash_20241022": _SHELL,
    "bash_20250124": _SHELL,
    "text_editor_20241022": _editor("view", "create", "str_replace", "insert", "undo_edit"),
    "text_editor_20250124": _editor("view", "create", "str_replace", "insert", "undo_edit"),
    "text_editor_20250429": _editor("view", "create", "str_replace", "insert"),
    "text_editor_20250728": _editor("view", "create", "str_replace", "insert"),
    "memory_20250818": _MEMORY,
}
"""Typed tools that the client runs: description and input schema, which Anthropic's models know by heart."""


def chat_tools(tools: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], str | None]:
    """The tools as functions, and the path of the first one that only Anthropic's API can run (None: all are
    translated). Raises ServiceError (400) for an invalid tool."""
    functions: list[dict[str, Any]] = []
    native_path: str | None = None
    for number, tool in enumerate(tools):
        kind, path = tool.get("type") or "custom", f"tools[{number}]"
        if not isinstance(kind, str) or ("input_schema" in tool and kind != "custom"):
            raise _bad(f"{path}.type", "must be custom, or the type of one of Anthropic's own tools")
        if kind != "custom" and kind not in CLIENT_TOOLS:
            native_path = native_path or path
            continue
        if not isinstance(tool.get("name"), str) or not tool["name"]:
            raise _bad(f"{path}.name", "is required")
        functions.append({"type": "function", "function": _function(tool, kind, path)})
    return functions, native_path


def _function(tool: Mapping[str, Any], kind: str, path: str) -> dict[str, Any]:
    if kind in CLIENT_TOOLS:
        description, known = CLIENT_TOOLS[kind]
        return {"name": tool["name"], "description": description, "parameters": known}
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        raise _bad(f"{path}.input_schema", "must be a JSON schema of type object")
    function: dict[str, Any] = {"name": tool["name"]}
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    function["parameters"] = schema
    if tool.get("strict") is True:
        function["strict"] = True
    return function


def chat_tool_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """`tool_choice` as fields of a chat completion request. Raises ServiceError (400)."""
    fields: dict[str, Any] = {}
    match choice.get("type"):
        case "auto" | "none" as said:
            fields["tool_choice"] = said
        case "any":
            fields["tool_choice"] = "required"
        case "tool":
            if not isinstance(choice.get("name"), str):
                raise _bad("tool_choice.name", "is required: the tool to call")
            fields["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
        case _:
            raise _bad("tool_choice.type", "must be auto, any, tool or none")
    if choice.get("disable_parallel_tool_use") is True:
        fields["parallel_tool_calls"] = False
    return fields


def _bad(path: str, message: str) -> ServiceError:
    return ServiceError(400, "invalid_value", f"{path}: {message}.", param=path)
