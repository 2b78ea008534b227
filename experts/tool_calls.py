"""Tool calls of chat completions as servers send them, made into what OpenAI's API has: each with an id, a
type, arguments as text, and in streams an index.

Knows nothing of tools.
"""

import json
import secrets
from collections.abc import Sequence
from typing import Any

Call = dict[str, Any]


def whole_calls(calls: Any) -> list[Call]:
    """The calls of a whole message; what is no call is left out."""
    return [{"id": _new_id(), "type": "function", **_tidied(call)} for call in _calls(calls)]


class CallFragments:
    """The calls of one streamed choice, which come in pieces."""

    def __init__(self) -> None:
        self._ids: dict[int, str] = {}
        """Of the calls that have begun, by index."""

    def read(self, calls: Any) -> list[Call]:
        """Fragments with their index. A server that gives none sends an id, or a name, with the first piece
        of a call."""
        return [self._fragment(_tidied(call)) for call in _calls(calls)]

    def _fragment(self, call: Call) -> Call:
        index = self._index(call)
        if index not in self._ids:
            call = {"id": _new_id(), "type": "function", **call}
            self._ids[index] = str(call["id"])
        return {**call, "index": index}

    def _index(self, call: Call) -> int:
        given, latest = call.get("index"), max(self._ids, default=-1)
        if isinstance(given, int) and given >= 0:
            return given
        if "id" in call:
            return next((index for index, known in self._ids.items() if known == call["id"]), latest + 1)
        function = call.get("function")
        starts = isinstance(function, dict) and bool(function.get("name"))
        return latest + 1 if starts else max(latest, 0)


def _calls(calls: Any) -> Sequence[Call]:
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def _tidied(call: Call) -> Call:
    """Without an id and a type that say nothing; arguments as text, which some servers send as the object
    that they mean."""
    tidy = {name: value for name, value in call.items() if value or name not in ("id", "type")}
    function = call.get("function")
    if isinstance(function, dict) and isinstance(function.get("arguments"), dict):
        arguments = json.dumps(function["arguments"], ensure_ascii=False)
        tidy["function"] = {**function, "arguments": arguments}
    return tidy


def _new_id() -> str:
    return f"call_{secrets.token_hex(12)}"
