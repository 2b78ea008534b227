"""The order of events in a stream of OpenAI's responses, and that the pieces add up.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openai.types.responses import ResponseStreamEvent

from tests.contracts.sse import Event
from tests.contracts.validation import problems


def responses_problems(events: Sequence[Event], *, failed: bool = False) -> list[str]:
    """Numbered events whose items add up to the last event's response; `failed`: an error ends them."""
    if found := [each for number, event in enumerate(events) for each in _event_problems(number, event)]:
        return found
    said = [event.data for event in events]
    kinds = [each["type"] for each in said]
    if kinds[:2] != ["response.created", "response.in_progress"]:
        return [f"it begins with {kinds[:3]}"]
    ends = {"error", "response.failed"} if failed else {"response.completed", "response.incomplete"}
    if kinds[-1] not in ends:
        return [f"it ends with {kinds[-1]}"]
    reader = _ResponseReader()
    if "routing" not in said[0]["response"]:
        reader.say("the first event's response has no routing")
    for each in said[2:-1]:
        reader.read(each)
    if not failed:
        reader.end(said[0]["response"], said[-1]["response"])
    return reader.found


def _event_problems(number: int, event: Event) -> list[str]:
    if not isinstance(event.data, dict) or event.kind != event.data.get("type"):
        return [f"the event {event.kind} holds {event.data}"]
    if event.data.get("sequence_number") != number:
        return [f"event {number} is numbered {event.data.get('sequence_number')}"]
    return problems(ResponseStreamEvent, event.data)


@dataclass(slots=True)
class _ResponseReader:
    """Items and their parts, from `added` by deltas to `done`."""

    found: list[str] = field(default_factory=list)
    open: dict[int, dict[str, Any]] = field(default_factory=dict)
    parts: dict[tuple[int, int], str] = field(default_factory=dict)
    """The text so far of each open part, by output and content index."""
    told: set[Any] = field(default_factory=set)
    """Parts, and items with arguments, whose text was told as a whole."""
    arguments: dict[int, str] = field(default_factory=dict)
    done: list[dict[str, Any]] = field(default_factory=list)

    def read(self, event: Mapping[str, Any]) -> None:
        kind = event["type"].removeprefix("response.")
        index = event.get("output_index")
        if kind == "output_item.added":
            if index != len(self.done) + len(self.open):
                self.say(f"item {index} is added after {len(self.done)}")
            self.open[event["output_index"]] = event["item"]
            self.arguments[event["output_index"]] = ""
            return
        if not isinstance(index, int) or index not in self.open:
            self.say(f"{kind} of item {index}, which is not open")
            return
        item = self.open[index]
        if "item_id" in event and event["item_id"] != item["id"]:
            self.say(f"{kind} of {event['item_id']}, the item is {item['id']}")
        if kind == "output_item.done":
            self._close(index, event["item"])
        elif kind.startswith("function_call_arguments."):
            self._arguments(kind, index, event)
        elif kind in _PARTS:
            self._part(kind, (index, event.get("content_index", event.get("summary_index"))), event)
        else:
            self.say(f"{kind} is none of the events that a text or a function call has")

    def end(self, first: Mapping[str, Any], final: Mapping[str, Any]) -> None:
        """Compare what was read with the response of the last event."""
        if first["id"] != final["id"]:
            self.say("the response's id changes")
        if self.open:
            self.say(f"items {sorted(self.open)} are not done")
        if final["output"] != self.done:
            self.say(f"the last event's output is {final['output']}, the items were {self.done}")

    def _close(self, index: int, item: dict[str, Any]) -> None:
        if any(output == index for output, _ in self.parts):
            self.say(f"item {index} is done before its parts")
        if item["type"] == "function_call" and index not in self.told:
            self.say(f"the arguments of item {index} are not told as a whole")
        if item["type"] == "function_call" and self.arguments[index] != item["arguments"]:
            self.say(f"the arguments' pieces are {self.arguments[index]!r}, the item's {item['arguments']!r}")
        del self.open[index]
        self.done.append(item)

    def _arguments(self, kind: str, index: int, event: Mapping[str, Any]) -> None:
        if kind.endswith("delta"):
            self.arguments[index] += event["delta"]
            return
        self.told.add(index)
        if event["arguments"] != self.arguments[index]:
            self.say(f"arguments are done as {event['arguments']!r}, not {self.arguments[index]!r}")

    def _part(self, kind: str, key: tuple[int, Any], event: Mapping[str, Any]) -> None:
        step = _PARTS[kind]
        if step == "begin":
            self.parts[key] = ""
        elif key not in self.parts:
            self.say(f"{kind} of part {key}, which is not open")
        elif step == "delta":
            self.parts[key] += event["delta"]
        else:
            whole = event.get("text", event.get("refusal"))
            if step == "end":
                whole = event["part"].get("text", event["part"].get("refusal"))
            if whole != self.parts[key]:
                self.say(f"{kind} says {whole!r}, its pieces {self.parts[key]!r}")
            if step == "text":
                self.told.add(key)
            elif key not in self.told:
                self.say(f"{kind} of part {key}, whose text was not told as a whole")
            if step == "end":
                del self.parts[key]

    def say(self, complaint: str) -> None:
        self.found.append(complaint)


_PARTS: Mapping[str, str] = {
    "content_part.added": "begin",
    "content_part.done": "end",
    "output_text.delta": "delta",
    "output_text.done": "text",
    "refusal.delta": "delta",
    "refusal.done": "text",
    "reasoning_text.delta": "delta",
    "reasoning_text.done": "text",
    "reasoning_summary_part.added": "begin",
    "reasoning_summary_part.done": "end",
    "reasoning_summary_text.delta": "delta",
    "reasoning_summary_text.done": "text",
}
