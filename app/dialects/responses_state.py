"""What a provider wants back with an assistant's turn, carried by a reasoning item's `encrypted_content`.

Chat completions have fields of several makers for it: signed thinking (`thinking_blocks`),
`reasoning_details`, and `extra_content` of tool calls. A client of the Responses API sends reasoning items
back as they came. Nothing is encrypted here: the makers have signed or encrypted it already.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

State = dict[str, Any]

PREFIX = "coterie_"
LISTS = ("thinking_blocks", "reasoning_details")
CALLS = "calls"
"""`extra_content` by the id of its call."""
REASONING = "reasoning"
"""The text, for clients that send back nothing but what is encrypted."""
OPAQUE = ("signature", "data", "encrypted_content")
TEXTS = ("thinking", "text", "summary")


class StateCollector:
    """Puts the state of one turn together from its deltas."""

    def __init__(self) -> None:
        self._lists: dict[str, list[State]] = {}
        self._calls: dict[str, Any] = {}
        self._changed = False

    def take(self, delta: Mapping[str, Any]) -> None:
        for name in LISTS:
            pieces = delta.get(name)
            for piece in pieces if isinstance(pieces, list) else ():
                if isinstance(piece, Mapping):
                    self._add(self._lists.setdefault(name, []), piece)
                    self._changed = True

    def take_call(self, call_id: str, call: Mapping[str, Any]) -> None:
        if isinstance(call.get("extra_content"), Mapping):
            self._calls[call_id] = call["extra_content"]
            self._changed = True

    def encrypted_content(self, reasoning: str | None = None) -> str | None:
        """What came since the last time, with the text of the `reasoning` if there is any; None for nothing,
        or nothing that only its maker can read."""
        if not self._changed and not reasoning:
            return None
        kept = {name: [each for each in found if _opaque(each)] for name, found in self._lists.items()}
        state: State = {name: found for name, found in kept.items() if found}
        if self._calls:
            state[CALLS] = self._calls
        self._lists, self._calls, self._changed = {}, {}, False
        if reasoning:
            state[REASONING] = reasoning
        if not state:
            return None
        return PREFIX + base64.urlsafe_b64encode(json.dumps(state).encode()).decode()

    @staticmethod
    def _add(found: list[State], piece: Mapping[str, Any]) -> None:
        """A piece of the last block, or a new block."""
        last = found[-1] if found else None
        same = last is not None and all(last.get(name) == piece.get(name) for name in ("type", "index"))
        if last is None or not same or _opaque(last) or piece.get("data"):
            found.append(dict(piece))
            return
        for name, value in piece.items():
            if name in TEXTS and isinstance(value, str):
                last[name] = (last.get(name) or "") + value
            elif value is not None:
                last[name] = value


def decode_state(text: Any) -> State | None:
    """The state in an `encrypted_content` that a StateCollector made; None for any other."""
    if not isinstance(text, str) or not text.startswith(PREFIX):
        return None
    try:
        state = json.loads(base64.urlsafe_b64decode(text.removeprefix(PREFIX)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return state if isinstance(state, dict) else None


def _opaque(block: Mapping[str, Any]) -> bool:
    return any(block.get(name) for name in OPAQUE)
