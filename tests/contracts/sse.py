"""Server-sent events as a strict reader takes them."""

import json
from dataclasses import dataclass
from typing import Any

DONE = "[DONE]"


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event: its `event:` line, and its data as JSON (`[DONE]` as text)."""

    kind: str | None
    data: Any


def events_of(text: str) -> list[Event]:
    """The events of a stream, comments left out. Raises ValueError for what no reader of server-sent events
    need understand."""
    if text and not text.endswith("\n\n"):
        raise ValueError(f"the stream ends within an event: {text[-80:]!r}")
    found = []
    for block in text.split("\n\n"):
        fields: dict[str, list[str]] = {}
        for line in block.split("\n"):
            if line and not line.startswith(":"):
                name, separator, value = line.partition(": ")
                if not separator or name not in ("event", "data"):
                    raise ValueError(f"a line that is neither event nor data: {line!r}")
                fields.setdefault(name, []).append(value)
        if fields:
            if "data" not in fields:
                raise ValueError(f"an event without data: {block!r}")
            data = "\n".join(fields["data"])
            found.append(Event(fields.get("event", [None])[-1], data if data == DONE else json.loads(data)))
    return found


def is_object(text: str) -> bool:
    """Whether `text` is a JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
