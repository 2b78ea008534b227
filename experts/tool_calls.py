"""Tool calls of chat completions as servers send them, made into what OpenAI's API has.

Each has an id, a type and arguments as text; in streams they are numbered from 0 as they begin
(`StreamedCalls`), so that their pieces can be put together (`JoinedCalls`). Knows nothing of tools.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Call = dict[str, Any]


def whole_calls(calls: Any, *, cut: bool = False) -> list[Call]:
    """The calls of a whole message; what is no call is left out. `cut`: the answer ended before its end, and
    missing arguments are not none."""
    found = []
    for call in _calls(calls):
        begun = {**call, "id": _id(call), "type": _type(call)}
        if not _is_other(call):
            function = _function(call)
            arguments = _text(function.get("arguments")) or ("" if cut else "{}")
            begun["function"] = {**function, "name": _name(function), "arguments": arguments}
        found.append({name: value for name, value in begun.items() if name != "index"})
    return found


@dataclass(slots=True)
class _Begun:
    id: str
    name: str
    whole: bool
    """Whether any arguments have come, or none are needed."""


class StreamedCalls:
    """The calls of one streamed choice, which come in pieces."""

    def __init__(self) -> None:
        self._begun: list[_Begun] = []
        self._places: dict[int, int] = {}
        """Our index of a call by the server's."""

    def __len__(self) -> int:
        return len(self._begun)

    def read(self, calls: Any) -> list[Call]:
        """The pieces: the first one of a call has its id and name, the others arguments alone."""
        return [self._piece(call) for call in _calls(calls)]

    def end(self) -> list[Call]:
        """What calls without arguments lack."""
        return [_more(index, "{}") for index, call in enumerate(self._begun) if not call.whole]

    def _piece(self, call: Mapping[str, Any]) -> Call:
        index = self._index(call)
        if index is None:
            return self._first(call)
        if _is_other(call):
            return {**call, "index": index}
        function, begun = _function(call), self._begun[index]
        arguments = _text(function.get("arguments"))
        begun.whole = begun.whole or bool(arguments)
        piece = _more(index, arguments)
        if (name := _name(function)) and name != begun.name:
            begun.name += name
            piece["function"]["name"] = name
        return piece

    def _first(self, call: Mapping[str, Any]) -> Call:
        index, place, other = len(self._begun), _place(call), _is_other(call)
        self._places[index if place is None else place] = index
        function = _function(call)
        arguments = _text(function.get("arguments"))
        begun = _Begun(_id(call), _name(function), bool(arguments) or other)
        self._begun.append(begun)
        first = {**call, "index": index, "id": begun.id, "type": _type(call)}
        if not other:
            first["function"] = {**function, "name": begun.name, "arguments": arguments}
        return first

    def _index(self, call: Mapping[str, Any]) -> int | None:
        """Which of the calls goes on; None for a new one. Some servers number none, or all with 0."""
        place, given, name = _place(call), call.get("id"), _name(_function(call))
        if given:
            same = (index for index, begun in enumerate(self._begun) if begun.id == given)
            if (index := next(same, None)) is not None:
                return index
            if name or place is None:
                return None
        if place is not None:
            return self._places.get(place)
        return len(self._begun) - 1 if self._begun and not name else None


class JoinedCalls:
    """The calls of one streamed choice, put together from the pieces that `StreamedCalls` gives."""

    def __init__(self, most_calls: int | None = None, most_characters: int | None = None) -> None:
        """What goes beyond the bounds is left out: of calls the last ones, of their texts what comes last."""
        self._most_calls = most_calls
        self._most_characters = most_characters
        self._calls: dict[int, Call] = {}
        self._texts: dict[tuple[int, str, str], list[str]] = {}
        """Pieces of text by call, part of the call (`function`, `custom`) and field of the part."""
        self._characters = 0

    def add(self, pieces: Any) -> None:
        """The next pieces, as a delta has them."""
        for piece in _calls(pieces):
            index = _place(piece)
            if index is not None and (index in self._calls or len(self._calls) != self._most_calls):
                self._add(index, piece)

    def whole(self) -> list[Call]:
        """The calls so far, without their indexes."""
        calls = {index: dict(call) for index, call in self._calls.items()}
        for (index, part, name), texts in self._texts.items():
            calls[index][part] = {**calls[index].get(part, {}), name: "".join(texts)}
        return list(calls.values())

    def _add(self, index: int, piece: Mapping[str, Any]) -> None:
        call = self._calls.setdefault(index, {})
        for part, said in piece.items():
            if part not in ("function", "custom") or not isinstance(said, Mapping):
                call |= {} if part == "index" else {part: said}
                continue
            for name, value in said.items():
                if isinstance(value, str) and (part, name) != ("custom", "name"):
                    self._append((index, part, name), value)
                else:
                    call[part] = {**call.get(part, {}), name: value}

    def _append(self, place: tuple[int, str, str], text: str) -> None:
        texts = self._texts.setdefault(place, [])
        self._characters += len(text)
        if self._most_characters is None or self._characters <= self._most_characters:
            texts.append(text)


def _calls(calls: Any) -> list[Mapping[str, Any]]:
    return [call for call in calls if isinstance(call, Mapping)] if isinstance(calls, list) else []


def _is_other(call: Mapping[str, Any]) -> bool:
    """Whether it calls something that is no function, as OpenAI's custom tools."""
    return "function" not in call and _type(call) != "function"


def _type(call: Mapping[str, Any]) -> Any:
    return call.get("type") or ("custom" if "custom" in call else "function")


def _more(index: int, arguments: str) -> Call:
    return {"index": index, "function": {"arguments": arguments}}


def _text(arguments: Any) -> str:
    """Arguments as text, which some servers send as the object that they mean."""
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function")
    return function if isinstance(function, Mapping) else {}


def _name(function: Mapping[str, Any]) -> str:
    name = function.get("name")
    return name if isinstance(name, str) else ""


def _id(call: Mapping[str, Any]) -> str:
    given = call.get("id")
    return given if isinstance(given, str) and given else f"call_{secrets.token_hex(12)}"


def _place(call: Mapping[str, Any]) -> int | None:
    index = call.get("index")
    return index if isinstance(index, int) and not isinstance(index, bool) else None
