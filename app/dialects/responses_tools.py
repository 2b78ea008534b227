"""Tools of the Responses API as functions of chat completions, and the way back to their own names.

A custom tool is a function with one string, `input`. A tool of a namespace is a function whose name begins
with the namespace's. Tools that OpenAI's servers run have no counterpart: those that agents always announce
are left out beside functions, and the first of the others is an error.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.dialects.chat_fields import read_object
from app.errors import ServiceError

NAMESPACE_SEPARATOR = "__"
INPUT = "input"
"""The one parameter of a custom tool's function."""

OPTIONAL_TOOLS = ("web_search", "image_generation", "tool_search")
"""Tools, by the beginning of their type, that coding agents announce with every request whether the model has
them or not: left out when there are others."""


@dataclass(frozen=True, slots=True)
class ToolName:
    """What the client calls a tool."""

    name: str
    namespace: str | None = None
    custom: bool = False

    @property
    def function(self) -> str:
        """The function's name in chat completions."""
        return self.name if self.namespace is None else f"{self.namespace}{NAMESPACE_SEPARATOR}{self.name}"


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of one request."""

    functions: tuple[dict[str, Any], ...] = ()
    """As chat completions have them."""
    names: Mapping[str, ToolName] = field(default_factory=dict)
    """The client's names by the functions' names."""
    shown: tuple[dict[str, Any], ...] = ()
    """The client's tools, without those that are left out."""
    ignored: tuple[str, ...] = ()
    """The types of those that are left out."""
    native_only: ServiceError | None = None
    """The error for the first one that only a server has that speaks Responses itself."""

    def of(self, function: str) -> ToolName:
        """What the client calls a function that an expert calls; experts make names up, too."""
        return self.names.get(function) or ToolName(function)


def read_tools(tools: Sequence[Mapping[str, Any]]) -> Tools:
    """Raises ServiceError (400) for an invalid tool."""
    functions: dict[str, dict[str, Any]] = {}
    names: dict[str, ToolName] = {}
    shown: list[dict[str, Any]] = []
    ignored: list[tuple[str, str]] = []
    native_only: ServiceError | None = None
    for index, tool in enumerate(tools):
        where, kind = f"tools[{index}]", tool.get("type")
        if kind not in ("function", "custom", "namespace"):
            if not isinstance(kind, str):
                raise _bad("must be a string", f"{where}.type")
            if kind.startswith(OPTIONAL_TOOLS):
                ignored.append((kind, where))
            else:
                native_only = native_only or _unsupported(kind, where)
            continue
        shown.append(echoed_tool(tool))
        for name, function in _functions(tool, where):
            if name.function in functions:
                raise ServiceError(
                    400, "invalid_value", f"Two tools have the name {name.function[:80]!r}.", param=where
                )
            functions[name.function], names[name.function] = function, name
    if ignored and not functions:
        native_only = native_only or _unsupported(*ignored[0])
    kinds = tuple(kind for kind, _ in ignored)
    return Tools(tuple(functions.values()), names, tuple(shown), kinds, native_only)


def read_tool_choice(choice: Any, tools: Tools) -> tuple[Any, tuple[dict[str, Any], ...]]:
    """`tool_choice` of a chat request, and the functions that are left; neither for a choice of a tool that
    no chat completion can have. Raises ServiceError (400) for an invalid choice."""
    if choice is None or choice in ("none", "auto", "required"):
        return choice, tools.functions
    choice = _flat(choice) if isinstance(choice, Mapping) else {}
    kind = choice.get("type")
    if kind in ("function", "custom"):
        function = {"name": _chosen(choice, tools, "tool_choice")}
        return {"type": "function", "function": function}, tools.functions
    if kind == "allowed_tools":
        return _allowed(choice, tools)
    if not isinstance(kind, str):
        raise _bad("must be none, auto, required, or an object that names a tool", "tool_choice")
    if tools.native_only is None:
        raise _unsupported(kind, "tool_choice")
    return None, ()


def _allowed(choice: Mapping[str, Any], tools: Tools) -> tuple[str, tuple[dict[str, Any], ...]]:
    listed, mode = choice.get("tools"), choice.get("mode", "auto")
    if not isinstance(listed, list) or mode not in ("auto", "required"):
        raise _bad("allowed_tools needs a mode, auto or required, and a list of tools", "tool_choice")
    allowed = set()
    for index, each in enumerate(listed):
        where = f"tool_choice.tools[{index}]"
        if not isinstance(each, Mapping):
            raise _bad("every allowed tool must be an object", where)
        if each.get("type") in ("function", "custom"):
            allowed.add(_chosen(each, tools, where))
        elif each.get("type") not in tools.ignored and tools.native_only is None:
            raise _unsupported(each.get("type"), where)
    return mode, tuple(each for each in tools.functions if each["function"]["name"] in allowed)


def echoed_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool as a response repeats it."""
    flat = _flat(tool)
    return {"parameters": None, "strict": None, **flat} if flat.get("type") == "function" else flat


def echoed_tool_choice(choice: Any) -> Any:
    """`tool_choice` as a response repeats it."""
    return _flat(choice) if isinstance(choice, Mapping) else choice or "auto"


def custom_arguments(text: str) -> str:
    """A custom tool's input as the arguments of its function."""
    return json.dumps({INPUT: text}, ensure_ascii=False)


def custom_input(arguments: str) -> str:
    """The input of a custom tool out of its function's arguments; what an expert wrote instead, as it is."""
    said = (read_object(arguments) or {}).get(INPUT)
    return said if isinstance(said, str) else arguments


def _functions(tool: Mapping[str, Any], where: str) -> Iterator[tuple[ToolName, dict[str, Any]]]:
    if tool.get("type") != "namespace":
        yield _function(tool, where, None)
        return
    namespace, members = _name(tool, where), tool.get("tools")
    if not isinstance(members, list):
        raise _bad("a namespace needs its tools", f"{where}.tools")
    for index, member in enumerate(members):
        place = f"{where}.tools[{index}]"
        if not isinstance(member, Mapping) or member.get("type") not in ("function", "custom"):
            raise _bad("a namespace holds functions and custom tools", place)
        yield _function(member, place, namespace)


def _function(tool: Mapping[str, Any], where: str, namespace: str | None) -> tuple[ToolName, dict[str, Any]]:
    flat = _flat(tool)
    custom = flat["type"] == "custom"
    name = ToolName(_name(flat, where), namespace, custom)
    function: dict[str, Any] = {"name": name.function}
    description = flat.get("description")
    if not isinstance(description, str | None):
        raise _bad("must be text", f"{where}.description")
    if custom:
        description = _custom_description(flat, where)
        function["parameters"] = {
            "type": "object",
            "properties": {INPUT: {"type": "string", "description": "The tool's input, as plain text."}},
            "required": [INPUT],
            "additionalProperties": False,
        }
    else:
        parameters = flat.get("parameters")
        if parameters is not None and not isinstance(parameters, Mapping):
            raise _bad("must be a JSON schema", f"{where}.parameters")
        if parameters is not None:
            function["parameters"] = parameters
        if not isinstance(flat.get("strict"), bool | None):
            raise _bad("must be true or false", f"{where}.strict")
        if flat.get("strict") is not None:
            function["strict"] = flat["strict"]
    if description:
        function["description"] = description
    return name, {"type": "function", "function": function}


def _custom_description(tool: Mapping[str, Any], where: str) -> str:
    """The description with the grammar that the input must keep to: an expert has nothing else to go by."""
    description, form = str(tool.get("description") or ""), tool.get("format")
    if form is None or (isinstance(form, Mapping) and form.get("type") == "text"):
        return description
    if not isinstance(form, Mapping) or form.get("type") != "grammar":
        raise _bad("must be text or a grammar", f"{where}.format")
    grammar = f"The input must match this {form.get('syntax') or ''} grammar:\n{form.get('definition') or ''}"
    return f"{description}\n\n{grammar}".strip()


def _flat(tool: Mapping[str, Any]) -> dict[str, Any]:
    """The tool in the Responses API's form; some clients send that of chat completions."""
    kind = tool.get("type")
    nested = tool.get(kind) if isinstance(kind, str) else None
    return {**nested, "type": kind} if isinstance(nested, Mapping) else dict(tool)


def _name(tool: Mapping[str, Any], where: str) -> str:
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise ServiceError(
            400, "missing_required_parameter", f"{where}.name: is required.", param=f"{where}.name"
        )
    return name


def _chosen(choice: Mapping[str, Any], tools: Tools, where: str) -> str:
    name, namespace = _flat(choice).get("name"), choice.get("namespace")
    if isinstance(name, str):
        found = ToolName(name, namespace if isinstance(namespace, str) else None).function
        if found in tools.names:
            return found
    raise _bad("names a tool that is not among `tools`", where)


def _bad(message: str, where: str) -> ServiceError:
    return ServiceError(400, "invalid_value", f"{where}: {message}.", param=where)


def _unsupported(kind: Any, where: str) -> ServiceError:
    return ServiceError(
        400,
        "unsupported_tool",
        f"{where}: a tool of type {str(kind)[:80]!r} is run by OpenAI's servers and not by an expert of this "
        "service. Send a tool of type function or custom and run it in the client.",
        param=where,
    )
